import type { Decision, SessionState } from "./decision.js";
import { sequenceMismatch, tooManyMessages } from "./errors.js";
import { idOf } from "./keys.js";
import { MAX_REWOUND_MESSAGES } from "./limits.js";
import { liveMessage, withoutMessages } from "./memory.js";
import type { MessageRecord, SessionRecord } from "./records.js";
import { live } from "./session.js";

export interface Rewind {
  /** The id of the last message that is to stay, or a sequence behind which none is to. */
  readonly after: string | number;
  readonly expectedLastSequence: number | undefined;
  readonly retentionMs: number;
}

export interface Rewound {
  /** How many messages were taken away. */
  readonly count: number;
  /** The oldest of them, as they were, as many as were read. */
  readonly messages: readonly MessageRecord[];
  readonly session: SessionRecord;
}

/**
 * Takes away all messages behind one of the memory, or behind a sequence, and the summary when it covers any of them. Needs the message, and
 * those that are later.
 */
export function rewind(state: SessionState, key: string, { after, ...input }: Rewind): Decision<Rewound> {
  const session = live(state, key);
  const { expectedLastSequence = session.lastSequence } = input;
  if (expectedLastSequence !== session.lastSequence) {
    throw sequenceMismatch(idOf(key), expectedLastSequence, session.lastSequence);
  }
  if (typeof after === "string") liveMessage(state, key, after);
  const { places, messages, newestBefore } = state.later ?? NOTHING_LATER;
  if (places.length > MAX_REWOUND_MESSAGES) throw tooManyMessages(idOf(key), MAX_REWOUND_MESSAGES);
  const [first] = places;
  if (!first) return { result: { count: 0, messages: [], session } };

  const { summary } = session;
  const left: SessionRecord = {
    ...withoutMessages(session, places.length, newestBefore),
    summary: summary && summary.recentSequence >= first.sequence ? undefined : summary,
  };
  return {
    result: { count: places.length, messages, session: left },
    session: left,
    removed: {
      places,
      deleteTime: state.now,
      expireAt: new Date(state.now.getTime() + input.retentionMs),
    },
  };
}

const NOTHING_LATER: NonNullable<SessionState["later"]> = { places: [], messages: [], newestBefore: undefined };
