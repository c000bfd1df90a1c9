/**
 * What a process has a certain number of, such as places for calls, and how much of it each project holds. While others are there
 * no project gets more than half. And some is kept for those who hold little, so that neither one that was alone, nor two that
 * hold half each, keep out who comes.
 */
export interface Shares {
  /** Whether a project could take so much. `projects` is how many are there, this one included. */
  fits(project: string, amount: number, projects: number): boolean;
  /** Takes it, if it fits. The answer is whether it did. */
  take(project: string, amount: number, projects: number): boolean;
  give(project: string, amount: number): void;
  /** How much all of them hold. */
  readonly total: number;
}

export interface ShareRules {
  readonly max: number;
  /** What any project must be able to hold, also when that is more than half. */
  readonly atLeast: number;
  /** How much is kept for those who hold little. */
  readonly kept: number;
}

export function createShares({ max, atLeast, kept }: ShareRules): Shares {
  const held = new Map<string, number>();
  const half = Math.max(atLeast, Math.floor(max / 2));
  let total = 0;

  const fits: Shares["fits"] = (project, amount, projects) => {
    const holds = (held.get(project) ?? 0) + amount;
    if (total + amount > max) return false;
    if (projects > 1 && holds > half) return false;
    // An even share if one more comes.
    const isLittle = holds <= max / (projects + 1);
    return isLittle || total + amount <= max - kept;
  };

  return {
    get total() {
      return total;
    },
    fits,
    take(project, amount, projects) {
      if (!fits(project, amount, projects)) return false;
      held.set(project, (held.get(project) ?? 0) + amount);
      total += amount;
      return true;
    },
    give(project, amount) {
      const left = (held.get(project) ?? 0) - amount;
      if (left > 0) held.set(project, left);
      else held.delete(project);
      total -= amount;
    },
  };
}
