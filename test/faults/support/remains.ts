import type { Database } from "../../../src/store/database.js";

/**
 * What is stored and belongs to nothing, once all that was deleted has been erased: every document must be a live session, a
 * live user, or a message of a live session's current memory. Counts are recounted.
 */
export async function remainsOf({ sessions, messages, users }: Database): Promise<string[]> {
  const remains: string[] = [];
  const epochs = new Map<string, { epoch: string; left: number }>();
  const sessionsOfUser = new Map<string, number>();
  for await (const session of sessions.find()) {
    const { _id, epoch, messageCount, deleted, purging, retired, expireAt, user, userEpoch } = session;
    epochs.set(_id, { epoch, left: messageCount });
    if (deleted || purging || retired || expireAt) remains.push(`session ${JSON.stringify(session)}`);
    const owner = `${user} ${userEpoch}`;
    sessionsOfUser.set(owner, (sessionsOfUser.get(owner) ?? 0) + 1);
  }
  for await (const { _id, session, epoch, deleted, expireAt, deleteTime } of messages.find()) {
    const home = epochs.get(session);
    if (home) home.left -= 1;
    if (home?.epoch !== epoch || deleted || expireAt || deleteTime) {
      remains.push(`message ${_id} of ${session}: ${JSON.stringify({ home, deleted, expireAt, deleteTime })}`);
    }
  }
  for (const [session, { left }] of epochs) {
    if (left !== 0) remains.push(`${session} counts ${left} messages more than it has`);
  }
  for await (const { _id, epoch, sessionCount, deleted, task, expireAt } of users.find()) {
    if (deleted || task || expireAt) remains.push(`user ${_id}: ${JSON.stringify({ deleted, task, expireAt })}`);
    const counted = sessionsOfUser.get(`${_id} ${epoch}`) ?? 0;
    if (sessionCount !== counted) remains.push(`${_id} counts ${sessionCount} sessions and has ${counted}`);
  }
  return remains;
}
