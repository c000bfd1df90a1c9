/** Which projects have asked for something lately: who is alone may have all, and who is not has to leave some to the others. */
export interface Presence {
  /** Notes that a project asks for something. The answer is how many projects are there, this one included. */
  note(project: string): number;
}

/** `presentMs`: for how long a project counts as there after it has asked for something. */
export function createPresence(presentMs: number, now: () => number = () => performance.now()): Presence {
  /** When each was seen last. In that order, as maps give their keys in the order in which they were put in. */
  const seen = new Map<string, number>();
  return {
    note(project) {
      const time = now();
      seen.delete(project);
      seen.set(project, time);
      for (const [other, seenAt] of seen) {
        if (time - seenAt <= presentMs) break;
        seen.delete(other);
      }
      return seen.size;
    },
  };
}
