import { Agent } from "node:http";
import { type Session, type User, ZepClient } from "@getzep/zep-js";
import { pino } from "pino";
import { describe, expect, it, onTestFinished } from "vitest";
import { createPositions } from "../../../src/http/zep/positions.js";
import { eventually } from "../../support/eventually.js";
import { rawCall, startZep, type ZepService } from "./support.js";

/**
 * Listings page by page, by the integers that the SDKs count with. Whoever is there throughout comes exactly once, whatever is deleted
 * meanwhile; a reader of the legacy server gets some twice, or never.
 */
async function start(databaseName?: string): Promise<ZepService> {
  const zep = await startZep(databaseName === undefined ? {} : { databaseName });
  onTestFinished(() => zep.stop());
  return zep;
}

const ids = (count: number, prefix = "s"): string[] =>
  Array.from({ length: count }, (_, index) => `${prefix}${String(index).padStart(3, "0")}`);

/** Sessions in this order. */
async function create(zep: ZepService, sessionIds: readonly string[], userId?: string): Promise<void> {
  for (const sessionId of sessionIds) await zep.sessions.createSession({ sessionId, ...(userId && { userId }) });
}

const page = async (
  zep: ZepService,
  query: string,
  path = "/sessions",
): Promise<{ id: number; session_id: string }[]> => (await zep.call("GET", `${path}?${query}`)).json;

const idsOf = (sessions: readonly { session_id: string }[]): string[] => sessions.map((session) => session.session_id);

/** All pages, each from the `id` of the last one of the page before; `between` is told what has been read so far. */
async function byIds(
  next: (query: string) => Promise<{ id: number; session_id: string }[]>,
  limit: number,
  between: (read: readonly string[]) => Promise<unknown> = async () => {},
): Promise<string[]> {
  const read: string[] = [];
  for (let cursor = 0; ; ) {
    const sessions = await next(`limit=${limit}&cursor=${cursor}`);
    const last = sessions.at(-1);
    if (!last) return read;
    read.push(...idsOf(sessions));
    cursor = last.id;
    await between(read);
  }
}

describe("a page", () => {
  it("has at most as many as asked for, and all where nobody says", async () => {
    const zep = await start();
    const all = ids(7);
    await create(zep, all);
    expect(idsOf(await page(zep, "limit=3"))).toEqual(all.slice(0, 3));
    expect(idsOf(await page(zep, "limit=3&cursor=2"))).toEqual(all.slice(2, 5));
    expect(idsOf(await page(zep, "limit=3&cursor=6"))).toEqual(all.slice(6));
    expect(idsOf(await page(zep, "limit=3&cursor=7"))).toEqual([]);
    for (const none of ["", "limit=", "limit=0", "limit=-3", "limit=100&cursor=-2"])
      expect(idsOf(await page(zep, none)), none).toEqual(all);
    expect(idsOf(await page(zep, "cursor=5"))).toEqual(all.slice(5));
  });

  it("begins with what is first now, however often it is asked for", async () => {
    const zep = await start();
    const all = ids(8);
    await create(zep, all);
    expect(idsOf(await page(zep, "limit=4&cursor=0"))).toEqual(all.slice(0, 4));
    for (const sessionId of all.slice(1, 3)) await zep.sessions.deleteSession({ sessionId });
    expect(idsOf(await page(zep, "limit=4&cursor=0"))).toEqual([all[0], ...all.slice(3, 6)]);
    expect(idsOf(await page(zep, "limit=4&cursor=4"))).toEqual(all.slice(6));
  });

  it("can be asked for again when its answer got lost", async () => {
    const zep = await start();
    const all = ids(9);
    await create(zep, all);
    await page(zep, "limit=3");
    await zep.sessions.deleteSession({ sessionId: "s000" });
    const second = idsOf(await page(zep, "limit=3&cursor=3"));
    expect([second, idsOf(await page(zep, "limit=3&cursor=3"))]).toEqual([all.slice(3, 6), all.slice(3, 6)]);
    expect(idsOf(await page(zep, "limit=3&cursor=6"))).toEqual(all.slice(6));
  });
});

describe("all sessions at once", () => {
  it("come whole, and no further than they are read", async () => {
    const lines: Record<string, unknown>[] = [];
    const log = pino({ level: "info" }, { write: (line: string) => void lines.push(JSON.parse(line)) });
    const zep = await startZep({ log });
    onTestFinished(() => zep.stop());
    const all = ids(300);
    const metadata = { text: "x".repeat(50_000) };
    await Promise.all(all.map((sessionId) => zep.sessions.createSession({ sessionId, metadata })));
    expect(idsOf(await page(zep, "")).toSorted()).toEqual(all);

    const aborter = new AbortController();
    const response = await fetch(`${zep.url}/api/v1/sessions`, { signal: aborter.signal });
    const reader = response.body?.getReader();
    expect((await reader?.read())?.value?.length).toBeGreaterThan(0);
    aborter.abort();
    const line = await eventually("the call ends with its reader", () =>
      lines.find(({ method, code }) => method === "zep.v1/ListSessions" && code !== "OK"),
    );
    expect(line.code).toBe("CANCELLED");
  });
});

describe("the SDK's generators", () => {
  it("give each session once that is there throughout", async () => {
    const zep = await start();
    const client = await ZepClient.init(zep.url);
    const all = ids(40);
    await create(zep, all);
    const read: string[] = [];
    const deleted = new Set<string>();
    for await (const chunk of client.memory.listSessionsChunked(5)) {
      expect(chunk.length).toBeGreaterThan(0);
      read.push(...idsOf(chunk));
      // Behind the reader, the very last one included, and before them.
      const ahead = all.filter((id) => !read.includes(id) && !deleted.has(id));
      for (const sessionId of [read.at(-1), read.at(-3), ahead[2]]) {
        if (sessionId === undefined || deleted.has(sessionId)) continue;
        deleted.add(sessionId);
        await zep.sessions.deleteSession({ sessionId });
      }
      if (read.length < 10) await zep.sessions.purgeSession({ sessionId: read[0] as string });
    }
    expect(new Set(read).size).toBe(read.length);
    expect(read.filter((id) => !deleted.has(id) && id !== "s000")).toEqual(
      all.filter((id) => !deleted.has(id) && id !== "s000"),
    );
  });

  it("end where the sessions end, and take those along that come meanwhile", async () => {
    const zep = await start();
    const client = await ZepClient.init(zep.url);
    await create(zep, ids(4));
    const read: string[][] = [];
    for await (const chunk of client.memory.listSessionsChunked(2)) {
      read.push(idsOf(chunk));
      if (read.length === 2) await create(zep, ["late"]);
    }
    expect(read).toEqual([["s000", "s001"], ["s002", "s003"], ["late"]]);
  });

  it("do not disturb each other", async () => {
    const zep = await start();
    const all = ids(30);
    await create(zep, all);
    const gone = new Set(all.filter((_, index) => index % 4 === 1));
    // As in processes of their own, each has its connection.
    const reader = () => {
      const agent = new Agent({ keepAlive: true, maxSockets: 1 });
      onTestFinished(() => agent.destroy());
      return { read: [] as string[], cursor: 0, agent };
    };
    const step = async (reading: ReturnType<typeof reader>): Promise<number> => {
      const path = `/api/v1/sessions?limit=6&cursor=${reading.cursor}`;
      const sessions = JSON.parse((await rawCall(zep.url, "GET", path, { agent: reading.agent })).text);
      reading.read.push(...idsOf(sessions));
      reading.cursor += 6;
      return sessions.length;
    };
    const [first, second] = [reader(), reader()];
    await step(first);
    for (const sessionId of gone) await zep.sessions.deleteSession({ sessionId });
    await step(second);
    for (let more = true; more; ) more = (await step(first)) + (await step(second)) > 0;
    const lasting = all.filter((id) => !gone.has(id));
    expect(first.read.filter((id) => !gone.has(id))).toEqual(lasting);
    expect(second.read).toEqual(lasting);
  });

  it("give each user once that is there throughout", async () => {
    const zep = await start();
    const client = await ZepClient.init(zep.url);
    const all = ids(17, "u");
    for (const userId of all) await client.user.add({ user_id: userId });
    const read: string[] = [];
    for await (const chunk of client.user.listChunked(4)) {
      read.push(...chunk.map((user: User) => user.user_id));
      await client.user.delete(chunk.at(-1)?.user_id ?? "");
      if (read.length === 4) await client.user.delete("u000");
    }
    expect(read).toEqual(all);
  });
});

describe("ids as cursors", () => {
  it("go on after their bearer, at any process, whatever was deleted", async () => {
    const zep = await start();
    const other = await start(zep.database.db.databaseName);
    const all = ids(23);
    await create(zep, all);
    let turn = 0;
    const read = await byIds(
      (query) => page(turn++ % 2 === 0 ? zep : other, query),
      4,
      async (so) => {
        await zep.sessions.deleteSession({ sessionId: so.at(-1) as string });
        await zep.sessions.purgeSession({ sessionId: so.at(-3) as string });
      },
    );
    expect(read).toEqual(all);
  });

  it("tell those apart that were created at once", async () => {
    const zep = await start();
    const all = ids(120);
    await Promise.all(all.map((sessionId) => zep.sessions.createSession({ sessionId })));
    const inOrder = idsOf(await page(zep, ""));
    expect(inOrder.toSorted()).toEqual(all);
    const times = new Set((await zep.call("GET", "/sessions")).json.map((session: Session) => session.created_at));
    expect(times.size, "some share a millisecond").toBeLessThan(all.length);
    const fresh = async (query: string) => page(await start(zep.database.db.databaseName), query);
    const deleteLast = (read: readonly string[]) => zep.sessions.deleteSession({ sessionId: read.at(-1) as string });
    expect(await byIds(fresh, 17, deleteLast)).toEqual(inOrder);
  });

  it("do so for a user's sessions, and for users", async () => {
    const zep = await start();
    const other = await start(zep.database.db.databaseName);
    for (const userId of ids(9, "u")) await zep.users.createUser({ userId });
    await create(zep, ids(9), "u004");
    await create(zep, ["somebody else's"], "u005");
    let turn = 0;
    const ofUser = (query: string) => page(turn++ % 2 === 0 ? zep : other, query, "/user/u004/sessions");
    expect(await byIds(ofUser, 4)).toEqual(ids(9));
    const users = async (query: string) =>
      (await (turn++ % 2 === 0 ? zep : other).call("GET", `/user?${query}`)).json.map(
        ({ id, user_id }: { id: number; user_id: string }) => ({ id, session_id: user_id }),
      );
    expect(await byIds(users, 4)).toEqual(ids(9, "u"));
  });

  it("never change", async () => {
    const zep = await start();
    const { json: created } = await zep.call("POST", "/sessions", { session_id: "s" });
    const { json: patched } = await zep.call("PATCH", "/sessions/s", { metadata: { a: 1 } });
    const [listed] = await page(zep, "");
    expect([created.id, patched.id, (await zep.call("GET", "/sessions/s")).json.id]).toEqual(Array(3).fill(listed?.id));
    expect(Number.isSafeInteger(created.id)).toBe(true);
  });
});

describe("counts as cursors", () => {
  it("are right at another process, too, as long as nothing is deleted before them", async () => {
    const zep = await start();
    const other = await start(zep.database.db.databaseName);
    const all = ids(20);
    await create(zep, all);
    const read: string[] = [];
    for (let cursor = 0; cursor < 24; cursor += 6)
      read.push(...idsOf(await page(cursor % 12 === 0 ? zep : other, `limit=6&cursor=${cursor}`)));
    expect(read).toEqual(all);
  });
});

describe("what is remembered", () => {
  it("is bounded, and what was used last is kept", () => {
    const positions = createPositions<number>(3);
    const reader = {};
    for (let cursor = 1; cursor <= 3; cursor++) positions.note("l", cursor, reader, cursor);
    expect(positions.find("l", 1, reader)).toBe(1);
    positions.note("l", 4, reader, 4);
    expect([1, 2, 3, 4].map((cursor) => positions.find("l", cursor, reader))).toEqual([1, undefined, 3, 4]);
  });

  it("is each listing's own", () => {
    const positions = createPositions<number>(10);
    positions.note("one", 5, {}, 1);
    expect(positions.find("two", 5, {})).toBeUndefined();
  });
});
