import { overloaded } from "../domain/errors.js";
import type { KeyRecord } from "../domain/records.js";

/** Finds a key by the hash of its secret; also one that is revoked or expired. Throws UNAVAILABLE while nobody can tell. */
export interface KeySource {
  find(hash: string): Promise<KeyRecord | undefined>;
  /** The same, for a key that is known to have been there: whoever asks for invented ones must not hold it up. */
  refresh(hash: string): Promise<KeyRecord | undefined>;
}

/** What this process knows of keys, so that hardly a call has to ask the database. */
export interface KeyCache {
  /** The key, unless there is none. Whether it is revoked or has expired is for the caller to see. */
  get(hash: string): KeyRecord | undefined | Promise<KeyRecord | undefined>;
  /** Whether it has been looked up before. */
  has(hash: string): boolean;
}

/**
 * A key that was read this long ago is used as it was, and read again beside it; one that was read longer ago is used only once it has
 * been read again. So a revocation, which the database has acknowledged, holds everywhere when the second time has passed; and
 * while the database is away, a good key opens nothing any more after that time.
 */
const FRESH_MS = 2_000;
const USABLE_MS = 7_000;

/** Nobody can have guessed a secret before its key was made, so what is unknown stays so for longer. */
const UNKNOWN_MS = 60_000;

/** How many keys are kept in mind of each kind. Those that are good and those that are not have their places apart. */
const MAX_KEYS = 10_000;

/** How many keys that are not known are looked up at a time: each is a little memory and a part of a query. */
const MAX_LOOKUPS = 1_000;

export function createKeyCache(source: KeySource): KeyCache {
  const good = new Map<string, { readonly key: KeyRecord; readonly readAt: number }>();
  /** Until when; what is revoked for ever, or until others need its place. */
  const bad = new Map<string, { readonly key: KeyRecord | undefined; readonly until: number }>();
  const underWay = new Map<string, Promise<KeyRecord | undefined>>();

  const read = async (hash: string, find: KeySource["find"]): Promise<KeyRecord | undefined> => {
    // What is read was so at some time after this one.
    const readAt = performance.now();
    const key = await find(hash);
    if (key && !key.revokeTime) {
      put(good, hash, { key, readAt });
    } else {
      good.delete(hash);
      put(bad, hash, { key, until: key ? Number.POSITIVE_INFINITY : readAt + UNKNOWN_MS });
    }
    return key;
  };

  /** One look-up for all who ask for the same at a time. */
  const lookUp = (hash: string, isKnown: boolean): Promise<KeyRecord | undefined> => {
    const begun = underWay.get(hash);
    if (begun) return begun;
    if (!isKnown && underWay.size >= MAX_LOOKUPS) throw overloaded("unknown keys", MAX_LOOKUPS);
    const own = read(hash, isKnown ? source.refresh : source.find).finally(() => underWay.delete(hash));
    underWay.set(hash, own);
    return own;
  };

  return {
    has: (hash) => good.has(hash) || bad.has(hash),
    get(hash) {
      const now = performance.now();
      const worthless = bad.get(hash);
      if (worthless && worthless.until > now) return worthless.key;
      const found = good.get(hash);
      const age = found ? now - found.readAt : Number.POSITIVE_INFINITY;
      if (!found || age > USABLE_MS) return lookUp(hash, found !== undefined);
      // When it fails, the next one who asks tries again.
      if (age > FRESH_MS) lookUp(hash, true).catch(() => {});
      return found.key;
    },
  };
}

/** Maps give their keys in the order in which they were put in: the first one is the oldest. */
function put<V>(map: Map<string, V>, key: string, value: V): void {
  map.delete(key);
  map.set(key, value);
  const [oldest] = map.keys();
  if (map.size > MAX_KEYS && oldest !== undefined) map.delete(oldest);
}
