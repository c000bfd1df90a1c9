import type { MessageRecord, SessionRecord, UserRecord } from "../../../src/domain/records.js";
import { NO_TIME } from "../../../src/domain/records.js";
import type { Database } from "../../../src/store/database.js";

/** Whether no document says any more that something is still to be done, now. */
export async function isSettled({ sessions, users, forks }: Database): Promise<boolean> {
  if (await forks.findOne()) return false;
  const now = new Date();
  const due = { purgeTime: { $lte: now } };
  const unfinished = await sessions.findOne(
    { $or: [{ retired: { $exists: true } }, { purging: { $exists: true } }, { expiresAt: { $lte: now } }, due] },
    { projection: { _id: 1 } },
  );
  if (unfinished) return false;
  return (await users.findOne({ $or: [{ task: { $exists: true } }, due] }, { projection: { _id: 1 } })) === null;
}

/** What is wrong with a database in which all work is done, as far as nothing in it is due yet: a line each. */
export async function faultsOf({ sessions, messages, users }: Database): Promise<string[]> {
  const allMessages = await messages.find({}, { projection: { content: 0 } }).toArray();
  const bySession = new Map<string, MessageRecord[]>();
  for (const message of allMessages) {
    const theirs = bySession.get(message.session);
    if (theirs) theirs.push(message);
    else bySession.set(message.session, [message]);
  }
  const allSessions = await sessions.find().toArray();
  const allUsers = new Map((await users.find().toArray()).map((user) => [user._id, user]));
  const keys = new Set(allSessions.map(({ _id }) => _id));
  return [
    ...[...bySession.keys()].filter((key) => !keys.has(key)).map((key) => `messages of no session: ${key}`),
    ...allSessions.flatMap((session) => sessionFaults(session, bySession.get(session._id) ?? [], allUsers)),
    ...[...allUsers.values()].flatMap((user) => userFaults(user, allSessions)),
  ];
}

function sessionFaults(
  session: SessionRecord,
  messages: readonly MessageRecord[],
  users: ReadonlyMap<string, UserRecord>,
): string[] {
  const faults: string[] = [];
  const check = (holds: boolean, fault: string): void => {
    if (!holds) faults.push(`session ${session._id}: ${fault}`);
  };
  check(session.retired === undefined && session.purging === undefined, "work is left");
  check(session.forks === undefined, "a copy of it seems to be under way");
  check(session.forks === undefined, "a copy of it seems to be under way");
  check(session.deleted === (session.deleteTime !== undefined), "deleted, but not since when, or the reverse");
  check(same(session.expireAt, session.purgeTime), "the TTL index erases it at another time than it is due");

  const { deleted, expireTime, idleTtlMs, expiresAt } = session;
  check(expireTime === undefined || idleTtlMs === undefined, "expires by two things");
  const expires = !deleted && (expireTime !== undefined || idleTtlMs !== undefined);
  check((expiresAt !== undefined) === expires, "expires, but not at any time, or the reverse");

  const current = messages.filter(({ epoch, deleted }) => epoch === session.epoch && !deleted);
  const others = messages.filter((message) => !current.includes(message));
  check(current.length === session.messageCount, `counts ${session.messageCount} messages and has ${current.length}`);
  check(
    current.every(
      ({ expireAt, deleteTime }) => same(expireAt, session.purgeTime) && same(deleteTime, session.deleteTime),
    ),
    "messages that do not live, or go, with it",
  );
  check(
    others.every(({ expireAt, deleteTime }) => expireAt && deleteTime),
    "messages that are gone and never erased",
  );
  const sequences = messages.map(({ sequence }) => sequence);
  check(new Set(sequences).size === sequences.length, "a sequence twice");
  check(Math.max(0, ...sequences) <= session.lastSequence, "a sequence beyond the last");
  const newest = current.reduce<MessageRecord | undefined>((a, b) => (a && a.sequence > b.sequence ? a : b), undefined);
  check(same(session.lastMessageTime, newest?.createTime ?? NO_TIME), "not the time of its last message");

  const user = session.user === undefined ? undefined : users.get(session.user);
  check(session.user === undefined || user !== undefined, "belongs to nobody");
  check(deleted || !user || (!user.deleted && user.epoch === session.userEpoch), "lives without its user");
  return faults;
}

function userFaults(user: UserRecord, sessions: readonly SessionRecord[]): string[] {
  const faults: string[] = [];
  const theirs = sessions.filter((session) => session.user === user._id && !session.deleted).length;
  if (user.task) faults.push(`user ${user._id}: work is left`);
  if (user.sessionCount !== theirs)
    faults.push(`user ${user._id}: counts ${user.sessionCount} sessions, has ${theirs}`);
  if (user.deleted && !same(user.expireAt, user.purgeTime))
    faults.push(`user ${user._id}: goes at another time than due`);
  if (!user.deleted && user.expireAt) faults.push(`user ${user._id}: lives and is going to be erased`);
  return faults;
}

const same = (a: Date | undefined, b: Date | undefined): boolean => a?.getTime() === b?.getTime();
