import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, expect, it, vi } from "vitest";
import { keyOf } from "../../src/domain/keys.js";
import type { LogTime, Moment } from "../../src/domain/watching/changes.js";
import { createHub, type Hub } from "../../src/services/watch/hub.js";
import { MAX_QUEUE, type Watcher } from "../../src/services/watch/watcher.js";
import { RawDocument as Raw, type RawDocument } from "../../src/store/raw.js";
import type { ChangeBatch, ChangeStream } from "../../src/store/watching/change-stream.js";
import { eventually } from "../support/eventually.js";

const SESSION = keyOf("default", "s");
const FILTER = { project: "default", session: SESSION, user: undefined };
const EVERYTHING = Number.MAX_SAFE_INTEGER;

const hubs: Hub[] = [];
afterEach(() => Promise.all(hubs.splice(0).map((hub) => hub.stop())));

/** A log of changes of one session, one a time from 1 on, whose readers go only as far as they are let. */
function start({ closing = async () => {} } = {}) {
  let end = 0;
  const limits = { head: EVERYTHING, lane: EVERYTHING };
  let lanes = 0;
  let headBatches = 0;
  let laneRead = 0;

  const openChanges = (after: LogTime | undefined, batchSize: number): ChangeStream => {
    const who = batchSize >= 10_000 ? "head" : "lane";
    if (who === "lane") lanes += 1;
    let to = after === undefined ? end : Number(after);
    let isClosed = false;
    return {
      async next(): Promise<ChangeBatch> {
        const from = to;
        await sleep(1);
        // What has no limit waits for something to tell, though not for long.
        for (let waited = 0; !isClosed && Math.min(end, limits[who]) <= from && waited < 5; waited++) await sleep(2);
        to = Math.max(from, Math.min(end, limits[who]));
        if (who === "head") headBatches += 1;
        else laneRead = Math.max(laneRead, to);
        const moments = Array.from({ length: to - from }, (_, index): Moment => updateAt(BigInt(from + index + 1)));
        return { moments, position: BigInt(to), isAll: true };
      },
      async close() {
        isClosed = true;
        if (who === "head") await closing();
      },
    };
  };

  let reading = (_at: number): Promise<void> => Promise.resolve();
  const hub = createHub({
    openChanges,
    reader: {
      now: async () => BigInt(end),
      async sessions(keys, at) {
        await reading(Number(at));
        return new Map(
          keys.map((key): [string, RawDocument<never>] => [key, Raw.of({ _id: key, epoch: "e" }) as never]),
        );
      },
      messages: async () => new Map(),
    },
    onError: (error) => {
      throw error;
    },
    observer: { told() {}, ended() {} },
    now: () => new Date(),
  });
  hubs.push(hub);
  return {
    hub,
    limits,
    lanes: () => lanes,
    laneRead: () => laneRead,
    happen(count: number) {
      end += count;
      return end;
    },
    whileReading(run: (at: number) => Promise<void>) {
      reading = run;
    },
    /** Until the head has told of all. */
    async headHasTold() {
      const batches = headBatches;
      await eventually("the head has told of all", () => headBatches > batches + 2);
    },
  };
}

const updateAt = (time: LogTime): Moment => ({
  time,
  clock: Number(time),
  transactions: [
    [{ kind: "session updated", session: SESSION, set: new Set(["version"]), unset: new Set(), deleted: undefined }],
  ],
});

/** Reads as the service does. */
async function take(hub: Hub, watcher: Watcher, upTo: number, told: number[] = []): Promise<number[]> {
  while ((told.at(-1) ?? 0) < upTo) {
    const entry = watcher.take();
    if (entry) {
      told.push(Number(entry.told.time));
      continue;
    }
    if (watcher.isBehind) hub.catchUp(watcher);
    await watcher.wait();
  }
  return told;
}

const upTo = (end: number): number[] => Array.from({ length: end }, (_, index) => index + 1);

it("who catches up misses nothing when more happens at the head meanwhile than is kept for them", async () => {
  const { hub, limits, happen, headHasTold, laneRead } = start();
  const other = await hub.join(FILTER, undefined);
  limits.lane = 10;
  happen(20);
  await headHasTold();
  const late = await hub.join(FILTER, { time: 0n });
  await eventually("they have read what they may", () => laneRead() === 10);
  await headHasTold();
  // They are told of what happens at the head now, and have still to be told of what lies between.
  const end = happen(MAX_QUEUE + 500);
  await headHasTold();
  limits.lane = EVERYTHING;
  await eventually("they are at the head", () => hub.figures.catchingUp === 0);
  expect(await take(hub, late, end)).toEqual(upTo(end));
  hub.leave(other);
  hub.leave(late);
});

it("who catches up misses nothing when they read on while they are told of more than is kept for them", async () => {
  const { hub, happen, whileReading, lanes } = start();
  const other = await hub.join(FILTER, undefined);
  const end = happen(MAX_QUEUE + 500);
  await eventually("the head has told of all", () => other.isBehind);
  const told: number[] = [];
  let taking: Promise<number[]> | undefined;
  whileReading(async (at) => {
    // More than is kept was told, and the rest of the same batch is still to come: now they read, and ask for what they have missed.
    if (at === MAX_QUEUE + 100 && !taking) {
      taking = take(hub, late, end, told);
      await eventually("they have read all that was kept", () => told.length >= MAX_QUEUE && lanes() === 2);
    }
  });
  const late = await hub.join(FILTER, { time: 0n });
  await eventually("they read", () => taking);
  expect(await taking).toEqual(upTo(end));
  hub.leave(other);
  hub.leave(late);
});

it("who comes while the head, which nobody has needed, is being closed misses nothing", async () => {
  vi.useFakeTimers({ toFake: ["performance"] });
  let close = (): void => {};
  try {
    let isClosing = false;
    const { hub, happen } = start({
      closing: async () => {
        if (isClosing) return;
        isClosing = true;
        await new Promise<void>((resolve) => {
          close = resolve;
        });
      },
    });
    hub.leave(await hub.join(FILTER, undefined));
    vi.advanceTimersByTime(60_000);
    await eventually("the head is being closed", () => isClosing);
    const joining = hub.join(FILTER, undefined);
    // The next one begins where the log is then: who watched already would not be told of what comes before.
    expect(await Promise.race([joining.then(() => "they watch"), sleep(50, "they wait")])).toBe("they wait");
    happen(3);
    close();
    const watcher = await joining;
    const end = happen(3);
    expect(await take(hub, watcher, end)).toEqual([end - 2, end - 1, end]);
    hub.leave(watcher);
  } finally {
    close();
    vi.useRealTimers();
  }
});
