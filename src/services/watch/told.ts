import type { SessionRecord } from "../../domain/records.js";
import type { LogTime, Moment } from "../../domain/watching/changes.js";
import { eventsOf, isOfSession, type SessionEvent } from "../../domain/watching/events.js";
import { comparePlaces, type Place, placeOf } from "../../domain/watching/position.js";
import type { RawDocument } from "../../store/raw.js";
import type { WatchReader } from "../../store/watching/reads.js";

/** An event as it is told to whoever watches, with what is known of its session. */
export interface Told extends SessionEvent {
  readonly time: LogTime;
  readonly clock: number;
  readonly place: Place;
  /** How many parts it can be told in: its messages, or one. */
  readonly parts: number;
  /** About how much it is. */
  readonly bytes: number;
  readonly owner: Owner;
  /** Whose it was before, where it has moved. */
  readonly formerOwner: Owner;
  /** The session as the event has left it; where that is too long ago, as it was later. */
  readonly record: RawDocument<SessionRecord> | undefined;
  /** What it is answered with, by the part from which on, while that is fresh: see answers.ts. */
  readonly answers: Map<number, unknown>;
}

/** The key of a user; "" for nobody; undefined where nobody can tell any more. */
export type Owner = string | undefined;

const EVENT_BYTES = 300;

interface Transaction {
  readonly moment: Moment;
  readonly changes: Moment["transactions"][number];
  /** The sessions that somebody watches. */
  readonly keys: ReadonlySet<string>;
}

/**
 * What moments mean to those who watch, in the order in which it is told. Sessions are read as each commit has left them, for many of them
 * at once; what nobody watches is not read.
 */
export async function* toldOf(
  moments: readonly Moment[],
  isWatched: (session: string) => boolean,
  reader: WatchReader,
): AsyncGenerator<readonly Told[], void> {
  for (const segment of segmentsOf(watchedTransactions(moments, isWatched))) {
    const at = segment.at(-1)?.moment.time as LogTime;
    const keys = new Set(segment.flatMap((transaction) => [...transaction.keys]));
    const [then, before] = await Promise.all([reader.sessions([...keys], at), statesBefore(segment, reader)]);
    const sessions = then ?? (await reader.sessions([...keys])) ?? new Map();
    const told = segment.flatMap((transaction) =>
      toldOfTransaction(transaction, { sessions, isExact: then !== undefined, before: before.get(transaction) }),
    );
    yield told.sort((a, b) => (a.time === b.time ? comparePlaces(a.place, b.place) : a.time < b.time ? -1 : 1));
  }
}

function watchedTransactions(moments: readonly Moment[], isWatched: (session: string) => boolean): Transaction[] {
  return moments.flatMap((moment) =>
    moment.transactions.flatMap((changes) => {
      const keys = new Set<string>();
      for (const change of changes) if (isOfSession(change) && isWatched(change.session)) keys.add(change.session);
      return keys.size > 0 ? [{ moment, changes, keys }] : [];
    }),
  );
}

/** Parts in which no session is changed twice: as the last commit has left them so has each. */
function segmentsOf(transactions: readonly Transaction[]): Transaction[][] {
  const segments: Transaction[][] = [];
  let taken = new Set<string>();
  for (const transaction of transactions) {
    const isAnother = segments.length === 0 || [...transaction.keys].some((key) => taken.has(key));
    if (isAnother) {
      segments.push([]);
      taken = new Set();
    }
    segments.at(-1)?.push(transaction);
    for (const key of transaction.keys) taken.add(key);
  }
  return segments;
}

type States = ReadonlyMap<string, RawDocument<SessionRecord>>;

/** The sessions as they were before, of which the change itself does not tell whose they were. */
async function statesBefore(
  segment: readonly Transaction[],
  reader: WatchReader,
): Promise<ReadonlyMap<Transaction, States | undefined>> {
  const asked = segment.flatMap((transaction) => {
    const keys = transaction.changes.flatMap((change) => {
      if (!isOfSession(change) || !transaction.keys.has(change.session)) return [];
      const moves = change.kind === "session updated" && (change.set.has("user") || change.unset.has("user"));
      return moves || change.kind === "session removed" ? [change.session] : [];
    });
    return keys.length > 0 ? [{ transaction, keys }] : [];
  });
  return new Map(
    await Promise.all(
      asked.map(
        async ({ transaction, keys }) =>
          [transaction, await reader.sessions(keys, transaction.moment.time - 1n)] as const,
      ),
    ),
  );
}

interface Known {
  readonly sessions: States;
  /** Whether they are as the commit has left them. */
  readonly isExact: boolean;
  readonly before: States | undefined;
}

function toldOfTransaction({ moment, changes, keys }: Transaction, { sessions, isExact, before }: Known): Told[] {
  const epochs = new Map(
    [...keys].flatMap((key) => {
      const epoch = sessions.get(key)?.pick("epoch").epoch?.toString();
      return epoch === undefined ? [] : [[epoch, key] as const];
    }),
  );
  return eventsOf(changes, (epoch) => epochs.get(epoch)).flatMap((event): Told[] => {
    const { session, kind } = event;
    if (!keys.has(session)) return [];
    const document = sessions.get(session);
    const state = document?.pick("epoch", "user", "purging");
    const isRemoved = kind === "purged" && document === undefined && event.isLast;
    const former = before?.get(session)?.pick("user", "purging");
    // It was told when its erasure began.
    if (isRemoved && before && (former === undefined || former.purging)) return [];
    // Of a memory that was cleared in the same transaction, or is not the session's yet.
    const messages =
      isExact && kind === "messages added"
        ? event.messages.filter(({ epoch }) => epoch === state?.epoch?.toString())
        : event.messages;
    if (messages.length === 0 && event.messages.length > 0) return [];
    const formerOwner = before ? ownerOf(former) : undefined;
    return [
      {
        ...event,
        messages,
        time: moment.time,
        clock: moment.clock,
        place: placeOf(event),
        parts: Math.max(messages.length, 1),
        bytes: messages.reduce((sum, { bytes }) => sum + bytes, EVENT_BYTES),
        owner: state ? ownerOf(state) : isRemoved ? formerOwner : undefined,
        formerOwner: event.moves ? formerOwner : "",
        record: document,
        answers: new Map(),
      },
    ];
  });
}

const ownerOf = (session: { readonly user?: Buffer } | undefined): Owner => session && (session.user?.toString() ?? "");
