/** Where a window of a memory may begin; see `sessions.v1.WindowStart`. */
export type WindowStart = "any" | "whole-tool-calls" | "user";

/** What of a message says whether a window may begin with it. */
export interface Head {
  readonly roleType: number;
  readonly groupId: string | undefined;
}

/** The numbers of `sessions.v1.RoleType`. */
const USER = 3;
const FUNCTION = 4;
const TOOL = 5;

/**
 * Which messages of a window, oldest first, it may have, so that it begins where it should. `isCutOff`: whether a group has an older
 * message that is not in the window. Callers read these rules at `sessions.v1.WindowStart`.
 */
export function startedAt(
  start: WindowStart,
  window: readonly Head[],
  isCutOff: (groupId: string) => boolean,
): readonly boolean[] {
  if (start === "any") return window.map(() => true);
  if (start === "user") {
    const first = window.findIndex(({ roleType }) => roleType === USER);
    return window.map((_, index) => first >= 0 && index >= first);
  }
  const leftOut = new Set<string>();
  let hasBegun = false;
  return window.map(({ roleType, groupId }) => {
    const isAnswer = roleType === TOOL || roleType === FUNCTION;
    const isPart = groupId !== undefined && (leftOut.has(groupId) || isCutOff(groupId));
    if (!isPart && (hasBegun || !isAnswer)) {
      hasBegun = true;
      return true;
    }
    // What follows of its group is cut off now, too.
    if (groupId !== undefined) leftOut.add(groupId);
    return false;
  });
}
