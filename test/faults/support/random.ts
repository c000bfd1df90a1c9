/** Chance that can be had again: the same seed gives the same numbers. */
export interface Random {
  /** From 0 up to, and without, 1. */
  fraction(): number;
  /** A whole number from 0 up to, and without, `below`. */
  below(below: number): number;
  chance(probability: number): boolean;
  pick<T>(items: readonly T[]): T;
  bytes(length: number): Buffer;
}

/** The seed to run with: one that is asked for, or a new one. A test that fails prints it. */
export function seedOf(env: string | undefined): number {
  return env === undefined ? Math.floor(Math.random() * 2 ** 32) : Number(env) >>> 0;
}

/** Mulberry32. */
export function createRandom(seed: number): Random {
  let state = seed >>> 0;
  const fraction = (): number => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
  const below = (limit: number): number => Math.floor(fraction() * limit);
  return {
    fraction,
    below,
    chance: (probability) => fraction() < probability,
    pick: <T>(items: readonly T[]) => items[below(items.length)] as T,
    bytes(length) {
      const bytes = Buffer.allocUnsafe(length);
      for (let n = 0; n < length; n++) bytes[n] = below(256);
      return bytes;
    },
  };
}
