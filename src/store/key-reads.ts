import type { Call } from "../domain/call.js";
import { boundedForAll } from "./database.js";
import { createGroups, READ_GROUPS } from "./groups.js";

/** Reads one document by its key, together with those that others ask for at the time. */
export type KeyRead<T> = (call: Call, key: string) => Promise<T | undefined>;

const MAX_KEYS = 128;

/** `read` finds documents by their keys. */
export function createKeyRead<T>(
  read: (keys: readonly string[], bound: { maxTimeMS: number }) => Promise<ReadonlyMap<string, T>>,
): KeyRead<T> {
  const groups = createGroups<{ call: Call; key: string }>({
    ...READ_GROUPS,
    choose: (waiting) => waiting.slice(0, MAX_KEYS),
    async run(group) {
      const found = await read([...new Set(group.map(({ key }) => key))], boundedForAll(group));
      return group.map(({ key }) => ({ result: found.get(key) }));
    },
  });
  return (call, key) => groups.submit({ call, key }) as Promise<T | undefined>;
}
