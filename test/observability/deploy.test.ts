import { randomUUID } from "node:crypto";
import { readFileSync } from "node:fs";
import { parser } from "@prometheus-io/lezer-promql";
import { describe, expect, inject, test } from "vitest";
import { parse } from "yaml";
import { connect } from "../support/api.js";
import { type Scrape, scrapeOf } from "../support/prometheus.js";
import { runService } from "../support/service-process.js";

/** What is in deploy/ for those who operate the service, held against what a service tells. */

interface Dashboard {
  readonly panels: readonly {
    readonly title: string;
    readonly gridPos: { readonly x: number; readonly y: number; readonly w: number; readonly h: number };
    readonly targets?: readonly { readonly expr: string }[];
  }[];
  readonly templating: { readonly list: readonly { readonly name: string; readonly definition?: string }[] };
}

interface Alerts {
  readonly groups: readonly {
    readonly rules: readonly {
      readonly alert: string;
      readonly expr: string;
      readonly for: string;
      readonly labels: { readonly severity: string };
      readonly annotations: { readonly summary: string; readonly description: string };
    }[];
  }[];
}

const dashboard: Dashboard = JSON.parse(readFileSync("deploy/grafana/sessions.json", "utf8"));
const alerts: Alerts = parse(readFileSync("deploy/prometheus/alerts.yaml", "utf8"));
const rules = alerts.groups.flatMap((group) => group.rules);

const QUERIES: readonly (readonly [string, string])[] = [
  ...dashboard.panels.flatMap(({ title, targets = [] }) =>
    targets.map(({ expr }, index) => [`the panel "${title}", ${index + 1}`, expr] as const),
  ),
  ...rules.map(({ alert, expr }) => [`the alert ${alert}`, expr] as const),
];

/** As Grafana would send it. */
const filledIn = (query: string): string =>
  query.replaceAll("$__rate_interval", "1m").replace(/\$(job|instance)/g, ".*");

interface Parsed {
  readonly faults: number;
  readonly names: readonly string[];
  /** The labels that series are chosen and put together by. */
  readonly labels: readonly string[];
}

function parsed(query: string): Parsed {
  const [names, labels]: [string[], string[]] = [[], []];
  let faults = 0;
  parser.parse(query).iterate({
    enter({ name, from, to, type }) {
      if (type.isError) faults += 1;
      if (name === "Identifier") names.push(query.slice(from, to));
      if (name === "LabelName") labels.push(query.slice(from, to));
    },
  });
  return { faults, names, labels };
}

/** What Prometheus itself adds to each series. */
const OF_PROMETHEUS = ["job", "instance"];

/** What a service tells that has been called. */
async function scrapeService(): Promise<Scrape> {
  const service = runService({
    MONGODB_URI: inject("mongodbUri"),
    MONGODB_DATABASE: `test-${randomUUID()}`,
    SESSIONS_HTTP_LISTEN: "127.0.0.1:0",
  });
  const { grpc, http } = await service.ready();
  const api = connect(grpc);
  await api.memory.addMemory({ sessionId: "s", messages: [{}] });
  await api.memory.getMemory({ sessionId: "s" });
  await api.sessions.listSessions({});
  await api.sessions.getSession({ sessionId: "nobody" }).catch(() => {});
  api.close();
  return scrapeOf(await (await fetch(`http://${http}/metrics`)).text());
}

let scraped: Promise<Scrape> | undefined;
/** The same for all; the test that asks first starts the service, and stops it. */
const scrapeOnce = (): Promise<Scrape> => {
  scraped ??= scrapeService();
  return scraped;
};

describe("the dashboard and the alerts", () => {
  test.each(QUERIES)("%s: its query is one, and asks for what there is", async (_, query) => {
    const scrape = await scrapeOnce();
    const { faults, names, labels } = parsed(filledIn(query));
    expect(faults).toBe(0);
    expect(names).not.toEqual([]);
    for (const name of names) expect(scrape.names).toContain(name);
    const known = scrape.samples
      .filter(({ name }) => names.includes(name))
      .flatMap((sample) => Object.keys(sample.labels));
    for (const label of labels) expect([...known, ...OF_PROMETHEUS]).toContain(label);
  });

  test("a query that is none would be found", () => {
    expect(parsed("sum(rate(sessions_calls_total[1m]) by").faults).toBeGreaterThan(0);
    expect(parsed('sum by (m) (rate(a_total{b="c"}[1m])) / d')).toEqual({
      faults: 0,
      names: ["a_total", "d"],
      labels: ["m", "b"],
    });
  });

  test("rates are of what only grows, and quantiles of buckets", async () => {
    const scrape = await scrapeOnce();
    const typeOf = (name: string) =>
      scrape.types.get(name) ?? scrape.types.get(name.replace(/_(bucket|sum|count)$/, ""));
    for (const [, query] of QUERIES) {
      for (const [, name = ""] of query.matchAll(/\brate\(([a-z_]+)/g)) {
        expect([name, typeOf(name)]).toEqual([name, expect.stringMatching(/counter|histogram/)]);
      }
      if (query.includes("histogram_quantile")) expect(query).toMatch(/_bucket\{.*\ble\b|\ble\b.*_bucket\{/);
    }
  });

  test("no panel lies on another", () => {
    const taken = new Set<string>();
    for (const { title, gridPos } of dashboard.panels) {
      expect(gridPos.x + gridPos.w, title).toBeLessThanOrEqual(24);
      for (let x = gridPos.x; x < gridPos.x + gridPos.w; x++) {
        for (let y = gridPos.y; y < gridPos.y + gridPos.h; y++) {
          expect(taken, title).not.toContain(`${x} ${y}`);
          taken.add(`${x} ${y}`);
        }
      }
    }
  });

  test("each alert says what is wrong, how urgent it is and what to do", () => {
    expect(rules.map(({ alert }) => alert)).toEqual([
      "SessionsDatabaseUnreachable",
      "SessionsErrorsHigh",
      "SessionsPurgeLagging",
      "SessionsExpiryLagging",
    ]);
    for (const rule of rules) {
      expect(rule).toMatchObject({
        for: expect.stringMatching(/^\d+m$/),
        labels: { severity: expect.stringMatching(/^(critical|warning)$/) },
        annotations: { summary: expect.any(String), description: expect.any(String) },
      });
    }
  });
});

describe("names are those that Prometheus asks for", () => {
  test("counters end in _total, what has a unit in the base unit, and nothing in both", async () => {
    const scrape = await scrapeOnce();
    for (const [name, type] of scrape.types) {
      if (!name.startsWith("sessions_")) continue;
      expect([name, name.endsWith("_total")]).toEqual([name, type === "counter"]);
      expect(name).not.toMatch(/_(ms|millis|milliseconds|mib|mb|kb|percent)(_|$)/);
    }
  });
});
