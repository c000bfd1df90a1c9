import type { Message, Session, Summary, User } from "../../client/index.js";
import { jsonLine, jsonOfMessage, jsonOfSession, jsonOfSummary, jsonOfUser } from "../json.js";

/** What an export writes, and an import reads: a user or a session a line, and of a large session some messages a line. */

export const userLine = (user: User): string => jsonLine(jsonOfUser(user));

/** Of a soft-deleted session nobody can read the memory. */
export const deletedSessionLine = (session: Session): string => jsonLine(jsonOfSession(session));

export function sessionLine(session: Session, summary: Summary | undefined, messages: readonly Message[]): string {
  return lineOf(session, messages.map(messageJson), { summary });
}

export const messageJson = (message: Message): string => JSON.stringify(jsonOfMessage(message));

/** What of a large session is in one line, at most. */
const MESSAGES_A_LINE = 1000;
const CHARACTERS_A_LINE = 4 * 1024 * 1024;

/**
 * A session whose messages come as JSON, in as many lines as it takes. All begin with what the session is, so each can be imported, and the
 * last one has the summary, which can be set only when the message is there that it goes up to.
 */
export async function* sessionLines(
  session: Session,
  summary: Summary | undefined,
  messages: AsyncIterable<string>,
): AsyncGenerator<string, void> {
  let part: string[] = [];
  let characters = 0;
  let isContinued = false;
  for await (const message of messages) {
    if (part.length === MESSAGES_A_LINE || (part.length > 0 && characters + message.length > CHARACTERS_A_LINE)) {
      yield lineOf(session, part, { isContinued });
      isContinued = true;
      part = [];
      characters = 0;
    }
    part.push(message);
    characters += message.length;
  }
  yield lineOf(session, part, { isContinued, summary });
}

interface More {
  readonly summary?: Summary | undefined;
  /** Whether it goes on with the session of an earlier line. */
  readonly isContinued?: boolean;
}

function lineOf(session: Session, messages: readonly string[], { summary, isContinued }: More): string {
  const head = {
    ...jsonOfSession(session),
    continues: isContinued || undefined,
    summary: summary && jsonOfSummary(summary),
  };
  return `${JSON.stringify(head).slice(0, -1)},"messages":[${messages.join(",")}]}\n`;
}
