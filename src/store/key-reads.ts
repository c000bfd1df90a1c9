import type { Call } from "../domain/call.js";
import type { Traces } from "../domain/traces.js";
import { boundedForAll } from "./database.js";
import { createGroups } from "./groups.js";

/** Reads one document by its key, together with those that others ask for at the time. */
export type KeyRead<T> = (call: Call, key: string) => Promise<T | undefined>;

/** How many groups of reads of a kind are at the database at a time: less than there are connections to it. */
export const MAX_READS_IN_FLIGHT = 8;

const MAX_KEYS = 128;

/** `read` finds documents by their keys; `name` says which, in a trace. */
export function createKeyRead<T>(
  { name, traces }: { readonly name: string; readonly traces: Traces | undefined },
  read: (keys: readonly string[], bound: { maxTimeMS: number }) => Promise<ReadonlyMap<string, T>>,
  onGroupEnd: (calls: number, seconds: number) => void = () => {},
): KeyRead<T> {
  const groups = createGroups<{ call: Call; key: string }>(
    {
      name,
      maxInFlight: MAX_READS_IN_FLIGHT,
      choose: (waiting) => ({ group: waiting.slice(0, MAX_KEYS), isFull: waiting.length >= MAX_KEYS }),
      async run(group) {
        const found = await read([...new Set(group.map(({ key }) => key))], boundedForAll(group));
        return group.map(({ key }) => ({ result: found.get(key) }));
      },
      onEnd: onGroupEnd,
    },
    traces,
  );
  return (call, key) => groups.submit({ call, key }) as Promise<T | undefined>;
}
