import { pino } from "pino";
import { describe, expect, it } from "vitest";
import { createAdmission } from "../../src/calls/admission/index.js";
import { createPresence } from "../../src/calls/admission/presence.js";
import { createRates } from "../../src/calls/admission/rates.js";
import { createShares, type Shares } from "../../src/calls/admission/shares.js";
import { createTurns } from "../../src/calls/admission/turns.js";
import { ANYBODY } from "../../src/domain/principal.js";

/** As much as a project gets, one by one. */
function takeAll(shares: Shares, project: string, projects: number): number {
  let taken = 0;
  while (shares.take(project, 1, projects)) taken += 1;
  return taken;
}

describe("shares", () => {
  const newShares = (kept = 12) => createShares({ max: 100, atLeast: 1, kept });

  it("give one who is alone all but what is kept for who comes", () => {
    expect(takeAll(newShares(), "a", 1)).toBe(88);
    expect(takeAll(newShares(0), "a", 1)).toBe(100);
  });

  it("give nobody more than half while others are there", () => {
    const shares = newShares(0);
    expect(takeAll(shares, "a", 2)).toBe(50);
    expect(takeAll(shares, "b", 2)).toBe(50);
  });

  it("give who comes a place at once, though another was alone and took what it could", () => {
    const shares = newShares();
    takeAll(shares, "a", 1);
    expect(takeAll(shares, "b", 2)).toBe(12);
    // The other has more than half, and gets nothing more before it has less.
    for (let n = 0; n < 38; n++) shares.give("a", 1);
    expect(shares.take("a", 1, 2)).toBe(false);
    shares.give("a", 1);
    expect(shares.take("a", 1, 2)).toBe(true);
  });

  it("give a third a place at once, though two others took what they could", () => {
    const shares = newShares();
    expect(takeAll(shares, "a", 2) + takeAll(shares, "b", 2)).toBe(88);
    expect(takeAll(shares, "c", 3)).toBe(12);
  });

  it("are as they were when everything is given back", () => {
    const shares = newShares();
    for (let round = 0; round < 3; round++) {
      const taken = { a: takeAll(shares, "a", 2), b: takeAll(shares, "b", 2) };
      for (const project of ["a", "b"] as const) shares.give(project, taken[project]);
    }
    expect(takeAll(shares, "a", 1)).toBe(88);
  });

  it("have room for what any project must be able to hold", () => {
    const shares = createShares({ max: 16, atLeast: 9, kept: 2 });
    expect(shares.take("a", 9, 2)).toBe(true);
    expect(shares.take("a", 1, 2)).toBe(false);
  });
});

describe("presence", () => {
  it("counts those who asked for something within 10 s", () => {
    let now = 0;
    const presence = createPresence(10_000, () => now);
    expect(presence.note("a")).toBe(1);
    expect(presence.note("b")).toBe(2);
    now = 9_000;
    expect(presence.note("a")).toBe(2);
    now = 11_000;
    expect(presence.note("a")).toBe(1);
    expect(presence.note("b")).toBe(2);
    now = 30_000;
    expect(presence.note("b")).toBe(1);
  });
});

describe("rates", () => {
  it("let a project make its calls a second, and make up for a second that it was quiet", () => {
    let now = 0;
    const rates = createRates(10, () => now);
    const burst = (project: string) => {
      let made = 0;
      while (rates.take(project) === 0) made += 1;
      return made;
    };
    expect(burst("a")).toBe(10);
    expect(rates.take("a")).toBe(100);
    // Others are not concerned.
    expect(burst("b")).toBe(10);
    now = 100;
    expect(burst("a")).toBe(1);
    now = 350;
    expect(burst("a")).toBe(2);
    expect(rates.take("a")).toBe(50);
    now = 100_000;
    expect(burst("a")).toBe(10);
  });

  it("say when it is worth to try again", () => {
    let now = 0;
    const rates = createRates(3, () => now);
    for (let n = 0; n < 3; n++) expect(rates.take("a")).toBe(0);
    const wait = rates.take("a");
    now += wait - 1;
    expect(rates.take("a")).toBeGreaterThan(0);
    now += 1;
    expect(rates.take("a")).toBe(0);
  });
});

describe("turns", () => {
  const never = new AbortController().signal;

  /** Acts that go on until they are told to end, and who has begun so far. */
  function acts() {
    const begun: string[] = [];
    const ends: (() => void)[] = [];
    const act = (name: string) => () => {
      begun.push(name);
      return new Promise<void>((resolve) => ends.push(resolve));
    };
    const endNext = async () => {
      ends.shift()?.();
      await settled();
    };
    return { begun, act, endNext };
  }
  /** Lets all that can go on without waiting go on. */
  const settled = () => new Promise((resolve) => setImmediate(resolve));

  it("go round among the projects, however many of one wait", async () => {
    const turns = createTurns({ atATime: 2 });
    const { begun, act, endNext } = acts();
    for (let n = 0; n < 6; n++) void turns.take("a", never, act("a"));
    void turns.take("b", never, act("b"));
    void turns.take("c", never, act("c"));
    await settled();
    expect(begun.join("")).toBe("aa");
    for (let n = 0; n < 4; n++) await endNext();
    expect(begun.join("")).toBe("aaabca");
    for (let n = 0; n < 8; n++) await endNext();
    expect(begun).toHaveLength(8);
  });

  it("are as many for each project, where that is the rule", async () => {
    const turns = createTurns({ atATime: 2, eachProject: true });
    const { begun, act, endNext } = acts();
    for (const project of ["a", "b"]) for (let n = 0; n < 3; n++) void turns.take(project, never, act(project));
    await settled();
    expect(begun.join("")).toBe("aabb");
    await endNext();
    expect(begun.join("")).toBe("aabba");
    for (let n = 0; n < 6; n++) await endNext();
    expect(begun.join("")).toBe("aabbab");
  });

  it("pass over who has left, and fail with what they left for", async () => {
    const turns = createTurns({ atATime: 1 });
    const { begun, act, endNext } = acts();
    void turns.take("a", never, act("first"));
    const leaving = new AbortController();
    const left = turns.take("a", leaving.signal, act("left"));
    const last = turns.take("b", never, act("last"));
    leaving.abort(new Error("gone"));
    await expect(left).rejects.toThrow("gone");
    await expect(turns.take("a", leaving.signal, act("late"))).rejects.toThrow("gone");
    await endNext();
    await endNext();
    await last;
    expect(begun).toEqual(["first", "last"]);
  });

  it("do not end with one that fails", async () => {
    const turns = createTurns({ atATime: 1 });
    await expect(turns.take("a", never, () => Promise.reject(new Error("no")))).rejects.toThrow("no");
    expect(await turns.take("a", never, async () => "yes")).toBe("yes");
  });

  it("pass on when one takes long, and none is passed on twice", async () => {
    const turns = createTurns({ atATime: 1, atMostMs: 20 });
    const { begun, act, endNext } = acts();
    const long = turns.take("a", never, act("long"));
    await turns.take("b", never, async () => begun.push("short"));
    expect(begun).toEqual(["long", "short"]);
    await endNext();
    await long;
    void turns.take("a", never, act("one"));
    void turns.take("a", never, act("two"));
    await settled();
    expect(begun).toEqual(["long", "short", "one"]);
    await endNext();
    await endNext();
  });

  it("are not waited for by one who is alone", async () => {
    const turns = createTurns({ atATime: 1, unless: { presence: createPresence(60_000), modest: 1 } });
    const { begun, act, endNext } = acts();
    for (let n = 0; n < 3; n++) void turns.take("a", never, act("a"));
    expect(begun).toHaveLength(3);
    for (let n = 0; n < 3; n++) void turns.take("b", never, act("b"));
    await settled();
    expect(begun.join("")).toBe("aaabb");
    for (let n = 0; n < 6; n++) await endNext();
    expect(begun).toHaveLength(6);
  });

  it("are waited for by one who has much in hand, until that is half as much, and not by others", async () => {
    const presence = createPresence(60_000);
    const turns = createTurns({ atATime: 1, unless: { presence, modest: 4 } });
    const { begun, act, endNext } = acts();
    presence.note("b");
    for (let n = 0; n < 8; n++) void turns.take("a", never, act("a"));
    await settled();
    // Four at once, and then one at a time.
    expect(begun.join("")).toBe("aaaaa");
    for (let n = 0; n < 3; n++) void turns.take("b", never, act("b"));
    await settled();
    expect(begun.join("")).toBe("aaaaabbb");
    void turns.take("a", never, act("late"));
    await settled();
    expect(begun).toHaveLength(8);
    for (let n = 0; n < 12; n++) await endNext();
    expect(begun).toHaveLength(12);
    for (let n = 0; n < 4; n++) void turns.take("a", never, act("again"));
    await settled();
    expect(begun.slice(12)).toEqual(Array(4).fill("again"));
    for (let n = 0; n < 4; n++) await endNext();
  });
});

describe("a call that has left", () => {
  it("takes nothing any more, though more of it comes or it is only now to begin", () => {
    const admission = createAdmission({
      limits: { maxCalls: 1, maxStreams: 1, maxWatchers: 1, maxRequestBytes: 16 * 1024 * 1024 },
      projectRate: undefined,
      isShared: false,
      presence: createPresence(60_000),
      log: pino({ level: "silent" }),
    });
    const errors: Error[] = [];
    const begin = () =>
      admission.begin({ path: "/a/B", streams: false, principal: ANYBODY }, (error) => errors.push(error));
    const gone = begin();
    gone.leave();
    gone.arrived(15 * 1024 * 1024);
    expect(gone.enter(15 * 1024 * 1024)).toBe(false);
    const next = begin();
    next.arrived(15 * 1024 * 1024);
    expect(next.enter(15 * 1024 * 1024)).toBe(true);
    next.complete();
    next.leave();
    expect(errors).toEqual([]);
  });
});
