import { create, toBinary } from "@bufbuild/protobuf";
import { expect, it } from "vitest";
import { fromJsonBytes } from "../../../src/http/connect/from-json.js";
import { inSlices } from "../../../src/http/connect/in-slices.js";
import { toJsonBytes } from "../../../src/http/connect/to-json.js";
import { methodAt } from "../../support/connect-clients.js";

function busy(ms: number): void {
  const begin = performance.now();
  while (performance.now() - begin < ms);
}

it("long work lets others have their turns, and short work does not wait for any", async () => {
  let turns = 0;
  let isOver = false;
  const count = (): void => {
    turns += 1;
    if (!isOver) setImmediate(count);
  };
  function* work(steps: number): Generator<void, string> {
    for (let step = 0; step < steps; step++) {
      busy(1);
      yield;
    }
    return "done";
  }
  setImmediate(count);
  expect(await inSlices(work(60))).toBe("done");
  isOver = true;
  expect(turns).toBeGreaterThan(5);

  const before = turns;
  expect(await inSlices(work(1))).toBe("done");
  expect(turns - before).toBeLessThanOrEqual(1);
});

it("messages can be broken off between any two, in both directions", () => {
  const steps = (work: Generator<void, unknown>): number => {
    let count = 0;
    while (!work.next().done) count += 1;
    return count;
  };
  const messages = Array.from({ length: 1000 }, (_, n) => ({ content: `${n}` }));
  const { output } = methodAt("/sessions.v1.MemoryService/GetMemory");
  expect(steps(toJsonBytes(output, toBinary(output, create(output, { messages } as never))))).toBe(1000);
  const { input } = methodAt("/sessions.v1.MemoryService/AddMemory");
  expect(steps(fromJsonBytes(input, Buffer.from(JSON.stringify({ messages }))))).toBe(1000);
});
