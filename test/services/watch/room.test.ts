import { expect, it, vi } from "vitest";
import type { Call } from "../../../src/domain/call.js";
import type { SessionsError } from "../../../src/domain/errors.js";
import { createRoom } from "../../../src/services/watch/room.js";

function newCall(): Call & { ended: SessionsError[]; leave(): void } {
  const aborter = new AbortController();
  const ended: SessionsError[] = [];
  return {
    project: "p",
    signal: aborter.signal,
    deadline: Number.POSITIVE_INFINITY,
    requestId: "r",
    ended,
    end: (error) => ended.push(error),
    leave: () => aborter.abort(new Error("gone")),
  };
}

/** Whether a promise is settled by now. */
const isIn = (promise: Promise<void>): Promise<boolean> =>
  Promise.race([promise.then(() => true), new Promise<false>((resolve) => setImmediate(() => resolve(false)))]);

it("lets in what there is room for, the others in their turn; what is larger than all of it, alone", async () => {
  const room = createRoom({ maxBytes: 10, atMostMs: 1_000_000 });
  const [a, b, c, large] = [newCall(), newCall(), newCall(), newCall()];
  await room.take(a, 6);
  const [second, third, last] = [room.take(b, 6), room.take(c, 1), room.take(large, 50)];
  expect([await isIn(second), await isIn(third)]).toEqual([false, false]);
  room.give(a);
  expect([await isIn(second), await isIn(third), await isIn(last)]).toEqual([true, true, false]);
  room.give(b);
  room.give(b);
  expect(await isIn(last)).toBe(false);
  room.give(c);
  expect(await isIn(last)).toBe(true);
});

it("who leaves while waiting takes nothing", async () => {
  const room = createRoom({ maxBytes: 10, atMostMs: 1_000_000 });
  const [a, gone, b] = [newCall(), newCall(), newCall()];
  await room.take(a, 10);
  const waiting = room.take(gone, 10);
  const next = room.take(b, 10);
  gone.leave();
  await expect(waiting).rejects.toThrow("gone");
  room.give(gone);
  room.give(a);
  expect(await isIn(next)).toBe(true);
});

it("who does not take theirs in is ended once others wait for the room, and not before", async () => {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "performance"] });
  try {
    const room = createRoom({ maxBytes: 10, atMostMs: 5_000 });
    const [slow, next] = [newCall(), newCall()];
    await room.take(slow, 10);
    vi.advanceTimersByTime(60_000);
    expect(slow.ended).toEqual([]);
    const waiting = room.take(next, 10);
    vi.advanceTimersByTime(1);
    expect(slow.ended).toMatchObject([{ reason: "WATCHER_TOO_SLOW" }]);
    expect(await isIn(waiting)).toBe(true);
  } finally {
    vi.useRealTimers();
  }
});
