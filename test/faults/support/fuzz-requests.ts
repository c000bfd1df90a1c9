import { encodeCursor } from "../../../src/domain/cursor.js";
import { type FuzzedMethod, type Kinds, METHODS, NEW_MESSAGE } from "./fuzz-methods.js";
import { BAD_STRUCTS, BROKEN_TAILS, extremeTime, field, HUGE_STRUCTS, mutated, NOT_UTF8, varint } from "./fuzz-wire.js";
import type { Random } from "./random.js";

/** What the fuzzer sends, and all that can be said beforehand about the answer. */
export interface FuzzRequest {
  readonly family: "poisoned" | "mutant" | "noise" | "valid";
  readonly method: FuzzedMethod;
  readonly bytes: Uint8Array;
  /** The only answer that is right; without it, any is that a bad request may have. */
  readonly expect?: string;
}

/** What earlier answers have told, for requests that make use of it. Bounded; the oldest are forgotten. */
export interface Lore {
  readonly cursors: string[];
  readonly etags: string[];
}

export const WATCHED = 8;
const SCRATCH = 40;
export const PLAIN = 60;

export const watchedSession = (n: number): string => `watched-session-${n}`;
export const watchedUser = (n: number): string => `watched-user-${n}`;
export const watchedMessage = (n: number): string => `watched-message-${n}`;
export const plainSession = (n: number): string => `plain-session-${n}`;

type Ids = { session: string; user: string; message: string };

/** Short and far from the other ids, so that no damage turns one into another. */
const scratchIds = (random: Random): Ids => ({
  session: `s${random.below(SCRATCH)}`,
  user: `u${random.below(SCRATCH / 2)}`,
  message: `m${random.below(200)}`,
});

const watchedIds = (random: Random): Ids => ({
  session: watchedSession(random.below(WATCHED)),
  user: watchedUser(random.below(WATCHED)),
  message: watchedMessage(random.below(5)),
});

/** A request in the full shape that its method knows. */
function wholeRequest(name: string, ids: Ids, lore: Lore, random: Random): object {
  const sessionId = ids.session;
  const userId = ids.user;
  const messageId = ids.message;
  const metadata = {
    topic: random.pick(["travel", "work"]),
    [random.pick(["a.b", "$set", "__proto__", ""])]: [1, null],
  };
  const etag = random.chance(0.2) ? (lore.etags.at(-1 - random.below(lore.etags.length || 1)) ?? "") : "";
  const cursor = random.chance(0.2) ? (lore.cursors.at(-1 - random.below(lore.cursors.length || 1)) ?? "") : "";
  const limit = 1 + random.below(20);
  const metadataMode = random.below(4);
  const expiry = random.pick([
    undefined,
    { $case: "expireTime", value: { seconds: 4_000_000_000, nanos: 5 } },
    { $case: "idleTtl", value: { seconds: random.pick([1, 86_400]), nanos: 5 } },
  ]);
  switch (name) {
    case "createSession":
      return { sessionId, userId: random.chance(0.5) ? userId : undefined, metadata, expiry };
    case "getSession":
      return { sessionId, showDeleted: random.chance(0.5) };
    case "batchGetSessions":
      return { sessionIds: [sessionId, "nobody", sessionId] };
    case "updateSession":
      return { sessionId, metadata, metadataMode, userId: random.pick([undefined, "", userId]), etag, expiry };
    case "deleteSession":
      return { sessionId, allowMissing: random.chance(0.5), etag };
    case "undeleteSession":
      return { sessionId, restoreMemory: random.chance(0.5) };
    case "forkSession":
      return {
        sessionId,
        newSessionId: random.pick(["", `s${random.below(SCRATCH)}`]),
        upToMessageId: random.chance(0.3) ? `${messageId}-0` : undefined,
        userId: random.pick([undefined, "", userId]),
        metadata,
      };
    case "listSessions":
      return {
        limit,
        cursor,
        chunkSize: 1 + random.below(9),
        userId: random.chance(0.5) ? userId : undefined,
        metadata: random.chance(0.5) ? { topic: "travel" } : {},
        createdAfter: random.chance(0.5) ? { seconds: 1_600_000_000, nanos: 1 } : undefined,
        createdBefore: random.chance(0.5) ? { seconds: 4_000_000_000, nanos: 999_999_999 } : undefined,
        lastMessageAfter: random.chance(0.3) ? { seconds: 1_600_000_000, nanos: 1 } : undefined,
        lastMessageBefore: random.chance(0.3) ? { seconds: 4_000_000_000, nanos: 999_999_999 } : undefined,
        order: random.below(4),
        descending: random.chance(0.5),
        showDeleted: random.chance(0.5),
      };
    case "watchSessions":
      return random.chance(0.5) ? { sessionId } : { userId };
    case "addMemory":
      return {
        sessionId,
        messages: Array.from({ length: random.below(4) }, (_, n) => ({
          messageId: random.chance(0.7) ? `${messageId}-${n}` : undefined,
          role: "guide",
          roleType: random.below(6),
          content: `hello ${random.below(3)}`,
          payload: random.bytes(3),
          payloadType: "text/plain",
          metadata,
          tokenCount: 7,
          createTime: random.chance(0.5) ? { seconds: random.below(1_700_000_000), nanos: 5 } : undefined,
          groupId: random.chance(0.5) ? `g${random.below(3)}` : undefined,
        })),
        userId: random.chance(0.3) ? userId : undefined,
        sessionMetadata: metadata,
        expectedLastSequence: random.chance(0.2) ? random.below(20) : undefined,
        mergeSessionMetadata: random.chance(0.3) ? metadata : undefined,
        metadataMode,
        expiry,
      };
    case "getMemory":
      return { sessionId, lastN: random.below(5), maxTokens: random.below(20), windowStart: random.below(4) };
    case "listMessages":
      return { sessionId, limit, cursor, chunkSize: 1 + random.below(9), descending: random.chance(0.5) };
    case "updateMessage":
      return {
        sessionId,
        messageId: `${messageId}-0`,
        metadata,
        metadataMode,
        tokenCount: 5,
        content: random.pick([undefined, "", "hello again"]),
        payload: random.pick([undefined, random.bytes(2)]),
        payloadType: random.pick([undefined, "", "text/plain"]),
        etag,
      };
    case "getMessage":
    case "deleteMessage":
      return { sessionId, messageId: `${messageId}-0` };
    case "rewindMemory":
      return {
        sessionId,
        ...random.pick([{ afterMessageId: `${messageId}-0` }, { afterSequence: random.below(20) }, {}]),
        expectedLastSequence: random.chance(0.3) ? random.below(20) : undefined,
      };
    case "setSummary":
      return { sessionId, content: "so far", recentMessageId: `${messageId}-0`, metadata, tokenCount: 3 };
    case "searchMemory":
      return {
        text: random.pick(["", "hello", "hello 2"]),
        metadata: { topic: "travel" },
        ...(random.chance(0.5) ? { sessionId } : { userId }),
        roleTypes: random.chance(0.3) ? [random.below(6)] : [],
        createdAfter: random.chance(0.3) ? { seconds: 1_600_000_000, nanos: 1 } : undefined,
        limit,
        neighbors: random.below(4),
      };
    case "createUser":
    case "updateUser":
      return { userId, email: "ann@example.org", firstName: "Ann", lastName: "B", metadata, metadataMode, etag };
    case "undeleteUser":
      return { userId, restoreSessions: random.chance(0.5) };
    case "listUsers":
    case "listErasures":
      return { limit, cursor, chunkSize: 1 + random.below(9) };
    case "purgeDeleted":
      return { olderThan: { seconds: random.below(2), nanos: 0 }, dryRun: random.chance(0.8) };
    case "createKey":
      return {
        name: "agents",
        role: 1 + random.below(2),
        userId: random.chance(0.5) ? userId : undefined,
        expireTime: random.chance(0.5) ? { seconds: 4_000_000_000, nanos: 5 } : undefined,
        project: random.pick([undefined, "default", "shop"]),
      };
    case "listKeys":
      return { limit, cursor, chunkSize: 1 + random.below(9), project: random.pick([undefined, "shop"]) };
    case "revokeKey":
      return { keyId: NO_KEY, project: random.pick([undefined, "shop"]) };
    default:
      return { sessionId, userId };
  }
}

const NO_KEY = "00000000-0000-4000-8000-000000000000";

const INT64 = ["-1", "-9223372036854775808", "9223372036854775807", "9007199254740992"];

/** Values that every field of a kind refuses, put where the last value of a field counts. */
const POISONS: { readonly [Kind in keyof Kinds]-?: (n: number, random: Random) => Uint8Array } = {
  ids: (n, random) =>
    field(n, random.pick(["", " \u2003 ", "a\0b", "\u009f", "x".repeat(257), "\u{1f600}".repeat(257), NOT_UTF8])),
  optionalIds: (n, random) => field(n, random.pick([" ", "a\nb", "x".repeat(300), NOT_UTF8])),
  texts: (n, random) => field(n, random.pick(["x".repeat(257), "\u{1f600}".repeat(257), "x".repeat(5_000), NOT_UTF8])),
  structs: (n, random) => field(n, random.pick(random.chance(0.02) ? HUGE_STRUCTS : BAD_STRUCTS)),
  counts: (n, random) => varint(n, random.pick(["-1", "-2147483648", "2147483648", "4294967295"])),
  counts64: (n, random) => varint(n, random.pick(INT64)),
  enums: (n, random) => varint(n, random.pick(["6", "99", "-1", "2147483647"])),
  times: (n, random) => field(n, random.pick(BAD_TIMES)),
  durations: (n, random) => field(n, random.pick(BAD_DURATIONS)),
  cursors: (n, random) => field(n, forgedCursor(random)),
  etags: (n, random) => field(n, random.pick(["x".repeat(65), "y".repeat(10_000), NOT_UTF8])),
  projects: (n, random) => field(n, random.pick(["", "a/b", "a b", "ä", "a\n", "x".repeat(65), NOT_UTF8])),
};

const time = (seconds: string, nanos: string): Uint8Array => Buffer.concat([varint(1, seconds), varint(2, nanos)]);

const BAD_TIMES = [
  ...INT64.slice(1).map((seconds) => time(seconds, "0")),
  time("253402300800", "0"),
  time("-62135596801", "0"),
  time("0", "-1"),
  time("0", "1000000000"),
  time("0", "2147483648"),
  NOT_UTF8,
];
const BAD_DURATIONS = [
  ...INT64.map((seconds) => time(seconds, "0")),
  time("315576000001", "0"),
  time("1", "-1"),
  time("-1", "1"),
  time("0", "-1"),
  time("0", "1000000000"),
];

/** None of them was ever made for the listing that it is sent to. */
function forgedCursor(random: Random): string | Uint8Array {
  const foreign = encodeCursor(["somebody", "else"], [5, random.pick(["m1", "default/s1"])]);
  const pack = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString("base64url");
  const fingerprint = "A".repeat(16);
  return random.pick([
    () => foreign,
    () => `${foreign}A`,
    () => foreign.slice(0, -1),
    () => random.bytes(20).toString("base64url"),
    () => random.bytes(20).toString("hex"),
    () => pack([1, fingerprint, 1e308, "x"]),
    () => pack([1, fingerprint, -5]),
    () => pack([2, fingerprint, 5, { $gt: "" }]),
    () => pack({ length: 4, 0: 1 }),
    () => pack(null),
    () => Buffer.from("[".repeat(4_000)).toString("base64url"),
    () => "A".repeat(9_000),
    () => "🙂",
    () => NOT_UTF8,
  ])();
}

/** A message that spoils its AddMemory. */
function poisonedMessages(random: Random): Uint8Array {
  const roll = random.below(12);
  if (roll === 0) return Buffer.concat([field(2, field(1, "twice")), field(2, field(1, "twice"))]);
  if (roll === 1 && random.chance(0.1))
    return Buffer.concat(Array.from({ length: 1001 }, () => field(2, new Uint8Array())));
  if (roll === 2) return field(2, field(9, time(String(Math.floor(Date.now() / 1000) + 3_600), "0")));
  if (roll === 3) return field(2, field(4, NOT_UTF8));
  return field(2, poisonOf(NEW_MESSAGE, random));
}

function poisonOf(kinds: Kinds, random: Random): Uint8Array {
  const places = (Object.entries(kinds) as [keyof Kinds | "weight", readonly number[] | number][]).flatMap(
    ([kind, numbers]) => (typeof numbers === "number" ? [] : numbers.map((n) => [kind as keyof Kinds, n] as const)),
  );
  const [kind, n] = random.pick(places);
  return POISONS[kind](n, random);
}

/** A valid request to something that is watched, with one thing in it that must have it refused. */
function poisoned(method: FuzzedMethod, lore: Lore, random: Random): FuzzRequest {
  const ids = watchedIds(random);
  const whole = wholeRequest(method.name, ids, { cursors: [], etags: [] }, random);
  const conflict = random.chance(0.15) ? conflicting(method, ids, lore, random) : undefined;
  if (conflict) return { family: "poisoned", method, ...conflict };
  const bytes = method.encode(whole);
  const poison = random.chance(0.2)
    ? random.pick(BROKEN_TAILS)
    : method.name === "addMemory" && random.chance(0.6)
      ? poisonedMessages(random)
      : poisonOf(method.kinds, random);
  // An enum that knows six values is not spoilt by the largest of them.
  return { family: "poisoned", method, bytes: Buffer.concat([bytes, poison]), expect: "INVALID_ARGUMENT" };
}

/** Valid in itself, and not with what is there: a stale or foreign etag, another's message id, a last sequence that is none. */
function conflicting(
  { name, encode }: FuzzedMethod,
  { session: sessionId, user: userId, message: messageId }: Ids,
  lore: Lore,
  random: Random,
): { bytes: Uint8Array; expect: string } | undefined {
  const stale = lore.etags.filter((etag) => etag !== "");
  const etag = stale.length > 0 && random.chance(0.7) ? random.pick(stale) : random.bytes(20).toString("hex");
  const metadata = { spoilt: true };
  switch (name) {
    case "updateSession":
      return { bytes: encode({ sessionId, metadata, etag }), expect: "ABORTED" };
    case "deleteSession":
      return { bytes: encode({ sessionId, allowMissing: true, etag }), expect: "ABORTED" };
    case "updateUser":
      return { bytes: encode({ userId, email: "spoilt", etag }), expect: "ABORTED" };
    case "createSession":
      return { bytes: encode({ sessionId, metadata }), expect: "ALREADY_EXISTS" };
    case "createUser":
      return { bytes: encode({ userId, metadata }), expect: "ALREADY_EXISTS" };
    case "forkSession":
      return { bytes: encode({ sessionId, newSessionId: sessionId, metadata }), expect: "ALREADY_EXISTS" };
    case "undeleteSession":
      return { bytes: encode({ sessionId, restoreMemory: random.chance(0.5) }), expect: "ALREADY_EXISTS" };
    case "undeleteUser":
      return { bytes: encode({ userId, restoreSessions: random.chance(0.5) }), expect: "ALREADY_EXISTS" };
    case "addMemory":
      return random.chance(0.5)
        ? {
            bytes: encode({ sessionId, messages: [{ content: "new" }, { messageId, content: "spoilt" }] }),
            expect: "ALREADY_EXISTS",
          }
        : { bytes: encode({ sessionId, messages: [{}], expectedLastSequence: random.below(4) }), expect: "ABORTED" };
    case "rewindMemory":
      return random.pick([
        { bytes: encode({ sessionId, afterMessageId: "none" }), expect: "NOT_FOUND" },
        { bytes: encode({ sessionId, afterSequence: 0, expectedLastSequence: random.below(4) }), expect: "ABORTED" },
        { bytes: encode({ sessionId, afterSequence: 0, afterMessageId: messageId }), expect: "INVALID_ARGUMENT" },
        { bytes: encode({ sessionId }), expect: "INVALID_ARGUMENT" },
      ]);
    case "setSummary":
      return {
        bytes: encode({ sessionId, content: "spoilt", recentMessageId: "none" }),
        expect: "FAILED_PRECONDITION",
      };
    case "updateMessage":
      return random.chance(0.5)
        ? { bytes: encode({ sessionId, messageId, content: "spoilt", etag }), expect: "ABORTED" }
        : { bytes: encode({ sessionId, messageId: "none", metadata }), expect: "NOT_FOUND" };
    case "deleteMessage":
      return { bytes: encode({ sessionId, messageId: "none", metadata }), expect: "NOT_FOUND" };
    default:
      return undefined;
  }
}

/** One of each kind of request, as chance will have it. Requests that are to be accepted come from the test itself. */
export function fuzzRequest(lore: Lore, random: Random): FuzzRequest {
  const method = weighted(random);
  if (random.chance(0.5)) return poisoned(method, lore, random);
  if (random.chance(0.1)) return { family: "noise", method, bytes: random.bytes(random.below(200)) };
  const bytes = method.encode(wholeRequest(method.name, scratchIds(random), lore, random));
  if (random.chance(0.05)) return { family: "valid", method, bytes };
  const other = random.chance(0.5) ? method : random.pick(METHODS);
  const spliced = other.encode(wholeRequest(other.name, scratchIds(random), lore, random));
  const mutant = mutated(bytes, spliced, random);
  const isExtreme = random.chance(0.1);
  const extreme = isExtreme ? field(random.pick([1, 6, 7, 9]), extremeTime(random)) : new Uint8Array();
  return { family: "mutant", method, bytes: Buffer.concat([mutant, extreme]) };
}

const TOTAL_WEIGHT = METHODS.reduce((sum, { weight }) => sum + weight, 0);

function weighted(random: Random): FuzzedMethod {
  let left = random.fraction() * TOTAL_WEIGHT;
  for (const method of METHODS) {
    left -= method.weight;
    if (left < 0) return method;
  }
  return METHODS[0] as FuzzedMethod;
}
