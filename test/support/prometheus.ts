/** What /metrics answers, taken apart. It throws at a line that Prometheus would not take. */
export interface Scrape {
  /** The sum over all series that have these labels, whatever others they have; undefined when there is none. */
  value(name: string, labels?: Labels): number | undefined;
  /** All values that a label has, in all series. */
  labelValues(label: string): ReadonlySet<string>;
  /** The names of all series. */
  readonly names: ReadonlySet<string>;
  readonly samples: readonly Sample[];
  /** The names of metrics, with their types. */
  readonly types: ReadonlyMap<string, string>;
}

export type Labels = Readonly<Record<string, string>>;

export interface Sample {
  readonly name: string;
  readonly labels: Labels;
  readonly value: number;
}

const SAMPLE = /^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{((?:[a-zA-Z_]\w*="(?:[^"\\]|\\.)*",?)*)\})? (\S+)$/;

export function scrapeOf(text: string): Scrape {
  const samples: Sample[] = [];
  const types = new Map<string, string>();
  const helped = new Set<string>();
  for (const line of text.split("\n")) {
    const [, help] = /^# HELP (\S+) \S/.exec(line) ?? [];
    const [, typed, type] = /^# TYPE (\S+) (counter|gauge|histogram)$/.exec(line) ?? [];
    if (help) helped.add(help);
    else if (typed && type) types.set(typed, type);
    else if (line !== "") samples.push(sampleOf(line));
  }
  for (const name of types.keys()) if (!helped.has(name)) throw new Error(`${name} has no HELP`);
  return {
    samples,
    types,
    names: new Set(samples.map(({ name }) => name)),
    value(name, labels = {}) {
      const asked = Object.entries(labels);
      const found = samples.filter(
        (one) => one.name === name && asked.every(([key, value]) => one.labels[key] === value),
      );
      return found.length === 0 ? undefined : found.reduce((sum, { value }) => sum + value, 0);
    },
    labelValues: (label) => new Set(samples.flatMap(({ labels }) => labels[label] ?? [])),
  };
}

function sampleOf(line: string): Sample {
  const [, name, labels = "", value] = SAMPLE.exec(line) ?? [];
  if (name === undefined) throw new Error(`not a sample: ${line}`);
  const number = value === "+Inf" ? Number.POSITIVE_INFINITY : Number(value);
  if (Number.isNaN(number) && value !== "Nan") throw new Error(`not a number: ${line}`);
  const pairs = [...labels.matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g)].map(([, key, text]) => [key, text]);
  return { name, labels: Object.fromEntries(pairs), value: number };
}
