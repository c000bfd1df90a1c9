import { setTimeout as sleep } from "node:timers/promises";
import { pino } from "pino";
import { expect, it } from "vitest";
import { createRefusalLog } from "../../src/calls/refusal-log.js";
import { overloaded, unauthenticated } from "../../src/domain/errors.js";
import { eventually } from "../support/eventually.js";

it("tells of every refusal, but not once for each: the last of a burst is not left out when no other follows", async () => {
  const lines: { refused: number; reason: string; method: string }[] = [];
  const write = (text: string) => void lines.push(JSON.parse(text));
  const logRefusal = createRefusalLog(pino({ base: undefined }, { write }));
  for (let n = 0; n < 100; n += 1) logRefusal(unauthenticated("none", "Who are you?"), { method: "a" });
  logRefusal(overloaded("calls", 1), { method: "b" });
  expect(lines).toMatchObject([{ refused: 1, reason: "UNAUTHENTICATED", method: "a" }]);
  await eventually("the rest is told of", () => lines.length > 1);
  expect(lines.slice(1)).toMatchObject([{ refused: 100, reason: "OVERLOADED", method: "b" }]);
  // And nothing where nothing is refused.
  await sleep(1_200);
  expect(lines).toHaveLength(2);
});
