import type { Call } from "../domain/call.js";
import type { KeyRecord } from "../domain/records.js";
import { bounded, type Database } from "./database.js";
import { translated } from "./driver-errors.js";
import { createKeyRead } from "./key-reads.js";
import { afterTime, readPage } from "./paging.js";

/** The API keys. Their secrets are not among what is stored. */
export interface KeyStore {
  /** The key whose secret has this hash, revoked or expired ones too. Asked for together with others at the time. */
  find(hash: string): Promise<KeyRecord | undefined>;
  /** The same in a queue of its own, for keys that are known to have been there. */
  refresh(hash: string): Promise<KeyRecord | undefined>;
  insert(call: Call, key: KeyRecord): Promise<void>;
  /** The next keys of a project after a position, by their create time. */
  page(
    call: Call,
    project: string,
    after: readonly [number, string] | undefined,
    limit: number,
  ): Promise<readonly KeyRecord[]>;
  /** Revokes a key, if it is not yet. The answer is the key, if there is one. */
  revoke(call: Call, key: string): Promise<KeyRecord | undefined>;
}

/** How long a call waits for a look at its key, before its own time begins. */
const LOOK_UP_MS = 5_000;

export function createKeyStore({ keys, traces }: Database): KeyStore {
  const finder = () => {
    const read = createKeyRead<KeyRecord>({ name: "read keys", traces }, async (hashes, bound) => {
      const found = await translated(() => keys.find({ hash: { $in: [...hashes] } }, bound).toArray());
      return new Map(found.map((key) => [key.hash, key]));
    });
    return (hash: string) => translated(() => read(lookUpCall(), hash), LOOK_UP_MS);
  };
  return {
    find: finder(),
    refresh: finder(),
    insert: (call, key) =>
      translated(async () => {
        await keys.insertOne(key, bounded(call));
      }),
    page: (call, project, after, limit) =>
      readPage(keys, call, {
        filter: { project, ...(after && afterTime("createTime", after, false)) },
        sort: { createTime: 1, _id: 1 },
        limit,
      }),
    revoke: (call, key) =>
      translated(async () => {
        const once = [{ $set: { revokeTime: { $ifNull: ["$revokeTime", "$$NOW"] } } }];
        const found = await keys.findOneAndUpdate({ _id: key }, once, { returnDocument: "after", ...bounded(call) });
        return found ?? undefined;
      }),
  };
}

/** A look at a key is nobody's call: several may wait for it, and it is worth its while when they have gone. */
const lookUpCall = (): Call => ({
  project: "",
  signal: NEVER,
  deadline: Date.now() + LOOK_UP_MS,
  requestId: "key",
});

const NEVER = new AbortController().signal;
