import type { Role } from "./principal.js";

/**
 * What is stored, one type a collection. Metadata is the wire format of its `google.protobuf.Struct`, absent when empty: a
 * read hands it on as it is, and any key comes back as it went in.
 */
export interface SessionRecord {
  /** Project and session id, see keys.ts. */
  readonly _id: string;
  readonly project: string;
  readonly uid: string;
  /** The key of the user whom the session belongs to. */
  readonly user?: string;
  /** The user's epoch under which this session is counted in the user's `sessionCount`. */
  readonly userEpoch?: string;
  readonly metadata?: Uint8Array;
  /** What the metadata can be found by, see metadata-terms.ts. Stored because an index needs it. */
  readonly terms?: readonly string[];
  readonly createTime: Date;
  readonly updateTime: Date;
  /** {@link NO_TIME} while the session has no memory: an index orders it then before all others. */
  readonly lastMessageTime: Date;
  /** Counts the changes of the session itself; the etag is made of it. */
  readonly version: number;

  /**
   * Which messages count: those that carry this epoch, and only while the session is live. Random, never used again. A
   * soft-deleted session keeps it, so that its memory can be restored.
   */
  readonly epoch: string;
  /** Live messages under this epoch. */
  readonly messageCount: number;
  /** The highest sequence ever given in this session. */
  readonly lastSequence: number;
  /**
   * Counts the changes of messages that are there: moved by whatever alters or takes away one of them under the epoch that it
   * leaves as it is. So a process can tell whether messages that it has read before are still the same. Absent until the first.
   */
  readonly memoryVersion?: number;
  readonly summary?: SummaryRecord;
  /** Of whose memory this one began as a copy, by that session's key, and up to and with which of its sequences. */
  readonly forkedFrom?: { readonly session: string; readonly sequence: number };
  /** The epochs of the copies of this memory that are under way, see {@link ForkRecord}. Absent when there are none. */
  readonly forks?: readonly string[];
  /**
   * Since when messages wait to be embedded; absent when none does, or nobody embeds. Those that nobody has just added have a time that
   * is still to come, see store/vectors/vectors.ts: they wait behind all others.
   */
  readonly unembedded?: Date;

  /** What it expires by, see expiry.ts: this moment, or so long after it was last added to. At most one of them. */
  readonly expireTime?: Date;
  readonly idleTtlMs?: number;
  /** When it expires. Set only while it lives and has one of the two: an index finds by it what is due. */
  readonly expiresAt?: Date;

  /** Whether `deleteTime` is set, as a key for the indexes. */
  readonly deleted: boolean;
  readonly deleteTime?: Date;
  readonly purgeTime?: Date;
  /** The epoch of the user whose deletion took this session along. */
  readonly takenBy?: string;
  /** Set when erasure has begun. To all but the purger the session exists no more. */
  readonly purging?: true;
  /** The work list: epochs whose messages still are to be marked or erased. Absent when empty. */
  readonly retired?: readonly RetiredEpoch[];
  /** When the TTL index erases this document: its purge time, set only once its work list is empty. */
  readonly expireAt?: Date;
}

export interface RetiredEpoch {
  readonly epoch: string;
  readonly deleteTime: Date;
  readonly purgeTime: Date;
  /** Up to which sequence the messages are done. */
  readonly doneTo: number;
  /**
   * What is done to the messages: `mark` sets the time at which the TTL index erases them, `unmark` takes it off again on
   * behalf of the restoration that `token` names, `erase` deletes them.
   */
  readonly task: "mark" | "unmark" | "erase";
  readonly token?: string;
  /** When the restoration began. One that has not ended long after has been abandoned. */
  readonly claimTime?: Date;
  /** For the receipt of a user's erasure: of which user it is, and how many messages have been erased so far. */
  readonly counted?: { readonly user: string; readonly receipt: string; readonly messages: number };
}

/**
 * A copy of a memory that is under way. The messages copied so far carry its epoch, which no session has yet, so nobody sees them. The
 * transaction that makes the new session takes this away; what a crash has left is erased by what stands here.
 */
export interface ForkRecord {
  /** The epoch that the new session is to have. */
  readonly _id: string;
  /** The new session's key. */
  readonly session: string;
  /** The key of the session that is copied, and the epoch of the memory that is. */
  readonly source: string;
  readonly sourceEpoch: string;
  /** How many messages there are of it. */
  readonly messageCount: number;
  /**
   * The source's, moved by whoever changes the copies together with it. Where it is another one, somebody has not: a process of an older
   * version, say, that knows nothing of copies.
   */
  readonly memoryVersion: number;
  /** When it last went on. {@link NO_TIME} once its erasure has begun: then it goes no further, and no session is made of it. */
  readonly aliveTime: Date;
}

export interface SummaryRecord {
  readonly content: string;
  readonly recentMessageId: string;
  readonly recentSequence: number;
  readonly metadata?: Uint8Array;
  readonly tokenCount: number;
  readonly createTime: Date;
}

export interface MessageRecord {
  /** Epoch and message id, see keys.ts. */
  readonly _id: string;
  /** The session's key. */
  readonly session: string;
  readonly epoch: string;
  readonly sequence: number;
  readonly role: string;
  readonly roleType: number;
  readonly content: string;
  readonly payload?: Uint8Array;
  readonly payloadType?: string;
  readonly metadata?: Uint8Array;
  readonly tokenCount: number;
  readonly createTime: Date;
  readonly addTime: Date;
  /** What it belongs to together with other messages of its session. */
  readonly groupId?: string;
  /** On the first message of a call that created or undeleted the session: a repetition of the call answers the same. */
  readonly sessionEffect?: "created" | "undeleted";
  /** On the first message that a call added behind others that were there: a repetition of it did nothing to the session either. */
  readonly continues?: true;
  /** Absent until the first update, which also sets `version`. */
  readonly updateTime?: Date;
  readonly version?: number;
  /** Set once its content, its payload or the type of that were changed: then nothing tells what a repetition of its call would have to say. */
  readonly edited?: true;
  /** Set when this one message was deleted, by itself: restoring the session's memory does not bring it back. */
  readonly deleted?: true;
  /** When the message was deleted, by itself or with its epoch. A mark of the purger, not what hides an epoch's messages. */
  readonly deleteTime?: Date;
  /** When the TTL index erases it. */
  readonly expireAt?: Date;
}

export interface UserRecord {
  /** Project and user id, see keys.ts. */
  readonly _id: string;
  readonly project: string;
  readonly uid: string;
  readonly email: string;
  readonly firstName: string;
  readonly lastName: string;
  readonly metadata?: Uint8Array;
  readonly createTime: Date;
  readonly updateTime: Date;
  readonly version: number;
  /**
   * Which sessions count: those that carry this epoch, and only while the user is live. A deleted user keeps it, so that the
   * sessions that the deletion took can be told.
   */
  readonly epoch: string;
  /** Live sessions under this epoch. */
  readonly sessionCount: number;

  /** Whether `deleteTime` is set, as a key for the indexes. */
  readonly deleted: boolean;
  readonly deleteTime?: Date;
  readonly purgeTime?: Date;
  /** Work that was begun and is not finished: the user's live sessions are to be retired, restored, or all erased. */
  readonly task?: UserTask;
  readonly expireAt?: Date;
}

export interface UserTask {
  readonly kind: "retire" | "restore" | "purge";
  /** The epoch whose sessions are meant. */
  readonly epoch: string;
  /** What the receipt is to say of a purge that leaves one, as far as it has come. */
  readonly erasure?: Erasure;
}

/** What is known of the erasure of a user before it has ended. */
export interface Erasure extends ErasureRequest {
  readonly beginTime: Date;
  readonly sessions: number;
  readonly messages: number;
}

export interface ErasureRequest {
  /** The id of the receipt. */
  readonly receipt: string;
  readonly requestId: string;
  /** Names the caller's credential, and no person. */
  readonly requestedBy: string;
}

/** What stays of the erasure of a user, for ever. Nothing in it is of the person. */
export interface ErasureRecord {
  /** Project and receipt id, see keys.ts. */
  readonly _id: string;
  readonly project: string;
  /** In hexadecimal digits. */
  readonly userSha256: string;
  readonly sessions: number;
  readonly messages: number;
  readonly requestId: string;
  readonly requestedBy: string;
  readonly beginTime: Date;
  readonly endTime: Date;
}

export interface KeyRecord {
  /** Project and key id, see keys.ts. */
  readonly _id: string;
  readonly project: string;
  readonly name: string;
  readonly role: Role;
  /** The id of the user whom the key is bound to. */
  readonly user?: string;
  /** SHA-256 of the secret, in base64url. The secret itself is nowhere. */
  readonly hash: string;
  readonly createTime: Date;
  readonly expireTime?: Date;
  readonly revokeTime?: Date;
}

/**
 * What a message means to an embedding model. Written only while the message lives, and erased in the transaction that changes its
 * content or takes it away; with its epoch as soon as that is retired.
 */
export interface VectorRecord {
  /** The message's. */
  readonly _id: string;
  readonly session: string;
  readonly epoch: string;
  readonly sequence: number;
  /** Which model it is of. */
  readonly model: string;
  /** Absent where there is nothing to embed. */
  readonly vector?: Uint8Array;
}

/** How far the messages of a session are embedded. There is one only while some are. */
export interface EmbeddedRecord {
  /** The session's key. */
  readonly _id: string;
  readonly epoch: string;
  readonly model: string;
  /** The sequence up to which all messages have been embedded. Of some the content may have changed since. */
  readonly to: number;
  /** How many messages of this epoch have a vector of this model. */
  readonly count: number;
}

/** How far the sessions have been looked through for messages that nobody knows to be unembedded. */
export interface SweepRecord {
  /** No session's key: there is no slash in it. */
  readonly _id: "sweep";
  readonly model: string;
  /** The key of the last session that was looked at. */
  readonly after: string;
  /** When all had been looked at. */
  readonly endTime?: Date;
}

/** Before any time that a Timestamp can hold. */
export const NO_TIME = new Date("0000-12-31T00:00:00.000Z");
