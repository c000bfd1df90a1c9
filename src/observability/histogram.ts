import { Histogram, type MetricObjectWithValues, type MetricValueWithName, type Registry } from "prom-client";

/** One series of a histogram. */
export interface Observed {
  observe(value: number): void;
}

/**
 * A histogram whose series are counted in arrays: what prom-client's own does at each observation, to make its labels into the name of
 * a series, costs ten times as much, and this happens at every call. It is like any other for whoever reads it.
 */
export class QuickHistogram extends Histogram<string> {
  /** What is the same for all of them: name, help and type. */
  readonly #empty: Histogram<string>;
  readonly #buckets: readonly number[];
  readonly #series: Series[] = [];

  constructor(options: {
    name: string;
    help: string;
    label: string;
    buckets: readonly number[];
    registry: Registry;
  }) {
    const { name, help, label, buckets, registry } = options;
    const settings = { name, help, labelNames: [label], buckets: [...buckets] };
    super({ ...settings, registers: [registry] });
    this.#empty = new Histogram({ ...settings, registers: [] });
    this.#buckets = buckets;
  }

  /** A series, which is there from now on, at zero. */
  series(labels: Readonly<Record<string, string>>): Observed {
    const series = { labels, counts: new Float64Array(this.#buckets.length + 1), sum: 0 };
    this.#series.push(series);
    const buckets = this.#buckets;
    return {
      observe(value) {
        let index = 0;
        while (index < buckets.length && value > (buckets[index] as number)) index += 1;
        series.counts[index] = (series.counts[index] as number) + 1;
        series.sum += value;
      },
    };
  }

  override async get(): Promise<MetricObjectWithValues<MetricValueWithName<string>>> {
    const metric = await this.#empty.get();
    return { ...metric, values: this.#series.flatMap((series) => this.#valuesOf(metric.name, series)) };
  }

  /** What prom-client asks for when it makes the text; its own answer is of its own series. */
  getForPromString(): Promise<MetricObjectWithValues<MetricValueWithName<string>>> {
    return this.get();
  }

  #valuesOf(name: string, { labels, counts, sum }: Series): MetricValueWithName<string>[] {
    let count = 0;
    const buckets = [...counts].map((inBucket, index) => {
      count += inBucket;
      const le = this.#buckets[index] ?? "+Inf";
      return { metricName: `${name}_bucket`, labels: { ...labels, le }, value: count };
    });
    return [
      ...buckets,
      { metricName: `${name}_sum`, labels, value: sum },
      { metricName: `${name}_count`, labels, value: count },
    ];
  }
}

interface Series {
  readonly labels: Readonly<Record<string, string>>;
  readonly counts: Float64Array;
  sum: number;
}
