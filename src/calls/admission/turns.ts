import type { Presence } from "./presence.js";

/**
 * Lets only so many at a time do something; the others wait for their turn, until they are no longer wanted. Projects take turns with
 * each other: one that asks for much waits for itself, not the others for it.
 */
export interface Turns {
  take<T>(project: string, signal: AbortSignal, act: () => Promise<T>): Promise<T>;
}

export interface TurnRules {
  readonly atATime: number;
  /** A turn that takes longer than this is over for the others: what it waits for is not what they want. Default: it takes as long as it takes. */
  readonly atMostMs?: number;
  /** Whether each project may have so many at a time, and not all of them together. */
  readonly eachProject?: true;
  /** Who need not wait for a turn. Default: whoever is too many waits. */
  readonly unless?: Freedom;
}

/** Whom nobody has to be kept from: who is alone, by this, and who has no more in hand than that. */
export interface Freedom {
  readonly presence: Presence;
  /**
   * How much a project may have in hand, what waits included, without being taken for one that takes all it can get. It has to come
   * down to half of that again before it is no longer.
   */
  readonly modest: number;
}

export function createTurns({ atATime, atMostMs, eachProject, unless }: TurnRules): Turns {
  /** Who waits, by project; the project that had its turn last is the last. */
  const waiting = new Map<string, Set<() => void>>();
  /** How many have their turn, by project, or of all under one name. */
  const taken = new Map<string, number>();
  const poolOf = (project: string): string => (eachProject ? project : "");
  const count = (project: string, by: 1 | -1): void => {
    const after = (taken.get(poolOf(project)) ?? 0) + by;
    if (after > 0) taken.set(poolOf(project), after);
    else taken.delete(poolOf(project));
  };

  const next = (): void => {
    // A project that is put in again comes again in this loop, behind the others.
    for (const [project, queue] of waiting) {
      const isFull = (taken.get(poolOf(project)) ?? 0) >= atATime;
      if (isFull && !eachProject) return;
      if (isFull) continue;
      const [enter] = queue;
      waiting.delete(project);
      if (enter) queue.delete(enter);
      if (queue.size > 0) waiting.set(project, queue);
      count(project, 1);
      enter?.();
    }
  };

  const turn = (project: string, signal: AbortSignal): Promise<void> =>
    new Promise((resolve, reject) => {
      const queue = waiting.get(project) ?? new Set();
      const leave = (): void => {
        queue.delete(enter);
        if (queue.size === 0 && waiting.get(project) === queue) waiting.delete(project);
        reject(signal.reason);
      };
      const enter = (): void => {
        signal.removeEventListener("abort", leave);
        resolve();
      };
      if (signal.aborted) {
        reject(signal.reason);
        return;
      }
      signal.addEventListener("abort", leave, { once: true });
      queue.add(enter);
      waiting.set(project, queue);
      next();
    });

  const inTurn = async <T>(project: string, signal: AbortSignal, act: () => Promise<T>): Promise<T> => {
    await turn(project, signal);
    let timer: NodeJS.Timeout | undefined;
    let isOver = false;
    const giveBack = (): void => {
      if (isOver) return;
      isOver = true;
      clearTimeout(timer);
      count(project, -1);
      next();
    };
    if (atMostMs !== undefined) timer = setTimeout(giveBack, atMostMs);
    try {
      return await act();
    } finally {
      giveBack();
    }
  };

  if (!unless) return { take: inTurn };

  const inHand = createInHand(unless.modest);
  return {
    async take(project, signal, act) {
      const isAlone = unless.presence.note(project) === 1;
      inHand.add(project);
      try {
        return await (isAlone || !inHand.isMuch(project) ? act() : inTurn(project, signal, act));
      } finally {
        inHand.remove(project);
      }
    },
  };
}

/** How much each project has in hand. */
function createInHand(modest: number) {
  const counts = new Map<string, number>();
  const greedy = new Set<string>();
  return {
    add(project: string): void {
      const after = (counts.get(project) ?? 0) + 1;
      counts.set(project, after);
      if (after > modest) greedy.add(project);
    },
    remove(project: string): void {
      const after = (counts.get(project) ?? 0) - 1;
      if (after > 0) counts.set(project, after);
      else counts.delete(project);
      if (after <= modest / 2) greedy.delete(project);
    },
    isMuch: (project: string): boolean => greedy.has(project),
  };
}
