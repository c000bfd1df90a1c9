import { existsSync, readFileSync } from "node:fs";
import { resolve } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { startZep, type ZepService } from "./support.js";

/**
 * What the real legacy server was recorded to answer, asked again here in the same order: the same statuses and the same objects, but for
 * the ids and times that a server makes, and for what is meant to be better. The recording lies beside the checkout, where it is there.
 */
const RECORDING = resolve(import.meta.dirname, "../../../../shared/data/zep-exchanges.txt");

interface Exchange {
  readonly name: string;
  readonly method: string;
  readonly path: string;
  readonly body: string | undefined;
  readonly status: number;
  readonly type: string;
  readonly text: string;
}

/** Those of the API but for searching, and but for two whose bodies were recorded only in part. */
function recorded(): Exchange[] {
  const [lines = ""] = readFileSync(RECORDING, "utf8").split("\nsearch (");
  const exchange = /^( *\S.*)\n {2}([A-Z]+) \/api\/v1(\S*)(?: (.*))?\n {2}-> (\d+) (.*?) len=\d+ "(.*)"$/gm;
  return [...lines.matchAll(exchange)]
    .map(([, name = "", method = "", path = "", body, status, type = "", text = ""]) => ({
      name: name.trim(),
      method,
      path,
      body,
      status: Number(status),
      type,
      text: JSON.parse(`"${text}"`) as string,
    }))
    .filter(({ name }) => !["id 1000 chars", "add memory huge"].includes(name));
}

/** What is better here than it was there, by the names of the exchanges; null where there is nothing to compare with. */
const BETTER: Readonly<Record<string, { readonly status?: number; readonly json?: object | null }>> = {
  "create empty id": { status: 400 },
  // No metadata and empty metadata are the same.
  "create metadata {}": { json: { session_id: "s-ab", metadata: null } },
  "patch {}": { status: 200, json: { session_id: "s-ae" } },
  "lastn=-1": { status: 400 },
  // A repetition changes nothing.
  "add memory same uuid again": { status: 200, json: null },
  // Encoded ids are decoded, and so the same as in bodies.
  "id with slash enc / got": { json: { session_id: "s-a/a b?#ü" } },
  "id with space / got": { status: 200, json: { session_id: "s-a b%c:d" } },
  "id with slash by create / got": { status: 200, json: { session_id: "s-a/q" } },
  "messages past end": { json: { messages: [], total_count: 2, row_count: 0 } },
  "message get other session": { status: 404 },
  "message get unknown": { status: 404 },
  "message get unknown session": { status: 404 },
  "message patch token_count reset?": { json: { metadata: { b: 1 }, token_count: 7 } },
  "message patch {}": { status: 200, json: { content: "hello" } },
  "message patch unknown none": { status: 404 },
  "message patch other session": { status: 404 },
  // The path says which message is meant.
  "message patch body uuid wins?": { json: { content: "hello", metadata: { wrong: 1 } } },
  "message patch body uuid wins? / mid2": { json: { content: "hi", metadata: { b: 1 }, token_count: 7 } },
  "message deleted": { status: 404 },
  "list ?limit=2": { json: [{ session_id: "s-aa" }, { session_id: "s-ab", metadata: null }] },
  "list ?limit=2&cursor=1": { json: [{ session_id: "s-ab", metadata: null }, { session_id: "s-ac" }] },
  "user patch metadata {}": { status: 200, json: { user_id: "s-au" } },
};

const UUID = /[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}/g;
const TIME = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?Z$/;

/** What was recorded, with our ids in the place of those that were made there, and any number and time in the place of such. */
function expectation(value: unknown, ours: unknown, uuids: Map<string, string>, key = ""): unknown {
  if (key === "id") return expect.any(Number);
  if (key.endsWith("_at")) return value === null ? null : expect.stringMatching(TIME);
  // There it is an object of zeros.
  if (key === "summary") return null;
  if (key === "uuid" && typeof ours === "string" && !uuids.has(value as string)) uuids.set(value as string, ours);
  if (typeof value === "string") return uuids.get(value) ?? value;
  if (value === null || typeof value !== "object") return value;
  const at = (name: string | number): unknown => (ours as Record<string | number, unknown> | undefined)?.[name];
  if (Array.isArray(value)) return value.map((item, index) => expectation(item, at(index), uuids));
  return Object.fromEntries(
    Object.entries(value).map(([name, inner]) => [name, expectation(inner, at(name), uuids, name)]),
  );
}

describe.runIf(existsSync(RECORDING))("the recorded exchanges", () => {
  let zep: ZepService;
  beforeAll(async () => {
    zep = await startZep();
  });
  afterAll(() => zep.stop());

  it("are answered alike, or better", async () => {
    const uuids = new Map<string, string>();
    const seen = new Set<string>();
    let about = "";
    for (const { name, method, path, body, status, type, text } of recorded()) {
      // Some names say only what they look at, which is the exchange before.
      const isFollowing = ["got", "mid2"].includes(name);
      const full = isFollowing ? `${about} / ${name}` : name;
      if (!isFollowing) about = name;
      const better = BETTER[full];
      if (better) seen.add(full);
      const answer = await zep.call(
        method,
        path.replace(UUID, (uuid) => uuids.get(uuid) ?? uuid),
        body,
      );
      const what = `${full}: ${method} ${path} ${body ?? ""} -> ${answer.status} ${answer.text}`;

      expect(answer.status, what).toBe(better?.status ?? status);
      if (answer.status === 405) expect([answer.text, answer.type], what).toEqual(["", null]);
      else expect(answer.type, what).toBe(type === "-" ? "text/plain; charset=utf-8" : type);
      if (answer.status >= 400) {
        if (answer.status !== 405) expect(answer.text, what).toMatch(/^[^\n{]+\n$/);
      } else if (better?.json !== undefined) {
        if (better.json) expect(answer.json, what).toMatchObject(better.json);
      } else if (/^[[{]/.test(text)) {
        expect(answer.json, what).toEqual(expectation(JSON.parse(text), answer.json, uuids));
        expect(answer.text.endsWith("\n"), what).toBe(true);
      } else {
        expect(answer.text, what).toBe(text);
      }
    }
    expect(seen, "every exchange that is better was recorded").toEqual(new Set(Object.keys(BETTER)));
  });
});
