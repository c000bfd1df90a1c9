import { type Decide, type Decision, existing, type SessionState } from "./decision.js";
import { messageIdOf } from "./keys.js";

/**
 * The same decision, which also notes on the session that some of its messages are to be embedded: new ones, those with another
 * content, and all that come with a session, a new one or one that comes back. What takes messages away leaves nothing to embed.
 */
export function notingUnembedded<T>(decide: Decide<T>): Decide<T> {
  return (state) => {
    const decision = decide(state);
    const { session } = decision;
    if (!session || session.deleted || session.purging) return decision;
    const isToEmbed =
      (decision.inserted?.length ?? 0) > 0 ||
      hasOtherContent(state, decision) ||
      ((!existing(state) || state.session?.deleted === true) && session.messageCount > 0);
    return isToEmbed ? { ...decision, session: { ...session, unembedded: state.now } } : decision;
  };
}

function hasOtherContent({ messages }: SessionState, { changed = [] }: Decision<unknown>): boolean {
  return changed.some((after) => !after.deleted && messages?.get(messageIdOf(after))?.content !== after.content);
}
