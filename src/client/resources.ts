import type { JsonObject } from "../domain/json.js";

/** What the service keeps, as plain objects. Times have a resolution of one millisecond. */

export type { JsonObject, JsonValue } from "../domain/json.js";

/** The kind of speaker of a message. */
export type RoleType = "system" | "assistant" | "user" | "function" | "tool";

export interface Session {
  /** The id under which the session was created. */
  readonly sessionId: string;
  /** A UUID set by the service. A session that is purged and created again has another one. */
  readonly uid: string;
  /** Undefined when the session belongs to nobody. */
  readonly userId?: string;
  readonly metadata: JsonObject;
  readonly createTime: Date;
  /** When the session itself last changed; its messages do not move it. */
  readonly updateTime: Date;
  /** The `createTime` of the newest message; undefined while there is none. */
  readonly lastMessageTime?: Date;
  /** Set only while the session is soft-deleted. */
  readonly deleteTime?: Date;
  /** From when on the soft-deleted session is erased. Set only while it is soft-deleted. */
  readonly purgeTime?: Date;
  /** The number of live messages, always exact. */
  readonly messageCount: number;
  /** Sent back in a write, it makes the write fail when the session has changed since. */
  readonly etag: string;
  /** Undefined when the session does not expire at a moment that was given. */
  readonly expireTime?: Date;
  /** Undefined when the session does not expire by being idle. */
  readonly idleTtlMs?: number;
  /** When the service soft-deletes the session, as it stands: what is added may move it. Set only while it lives and has an expiry. */
  readonly expiresAt?: Date;
  /** Where the session comes from; undefined when it did not begin as a copy. */
  readonly forkedFrom?: ForkOrigin;
}

export interface ForkOrigin {
  /** The session that was copied. It may be purged since. */
  readonly sessionId: string;
  /** Up to and with which sequence its memory was. */
  readonly sequence: number;
}

export interface Message {
  /** Unique within the session's memory. */
  readonly messageId: string;
  readonly sessionId: string;
  /** The message's place: from 1 on, strictly increasing, never used again, with gaps allowed. */
  readonly sequence: number;
  /** The speaker, in the caller's own words. */
  readonly role: string;
  /** Undefined when it was not said. */
  readonly roleType?: RoleType;
  readonly content: string;
  /** Undefined when there is none. */
  readonly payload?: Uint8Array;
  /** The media type of `payload`; undefined when there is none. */
  readonly payloadType?: string;
  readonly metadata: JsonObject;
  readonly tokenCount: number;
  /** When the message was made, as its caller said, or else when it was added. */
  readonly createTime: Date;
  /** When the message was last updated; at first when it was added. */
  readonly updateTime: Date;
  /** Sent back in an update, it makes the update fail when the message has changed since. */
  readonly etag: string;
  /** What the message belongs to together with others of its session; undefined when it is nothing. */
  readonly groupId?: string;
}

/** Condenses a session's memory up to one of its messages. */
export interface Summary {
  readonly content: string;
  /** The last message that the summary covers. */
  readonly recentMessageId: string;
  readonly metadata: JsonObject;
  readonly tokenCount: number;
  readonly createTime: Date;
}

export interface User {
  readonly userId: string;
  /** A UUID set by the service. A user who is purged and created again has another one. */
  readonly uid: string;
  /** Empty when there is none, as are the names. */
  readonly email: string;
  readonly firstName: string;
  readonly lastName: string;
  readonly metadata: JsonObject;
  readonly createTime: Date;
  readonly updateTime: Date;
  /** Set only while the user is soft-deleted. */
  readonly deleteTime?: Date;
  /** From when on the soft-deleted user is erased. Set only while they are soft-deleted. */
  readonly purgeTime?: Date;
  /** The number of live sessions, always exact. */
  readonly sessionCount: number;
  readonly etag: string;
}

export type WatchEventType =
  | "watching"
  | "sessionCreated"
  | "sessionUpdated"
  | "sessionDeleted"
  | "sessionUndeleted"
  | "sessionPurged"
  | "messagesAdded"
  | "messageUpdated"
  | "messageDeleted"
  | "memoryCleared"
  | "summarySet";

/** Something that has happened to a session, or, as `watching`, nothing but that the watcher is where its token says. */
export interface WatchEvent {
  /** Undefined when it is one that a later service has. */
  readonly type?: WatchEventType;
  /** Undefined for `watching`. */
  readonly sessionId?: string;
  /** The session as the change has left it; undefined when it has been erased since, or has gone to another user. */
  readonly session?: Session;
  /** Those of the messages that were added or changed which are still there, as they are now. */
  readonly messages: Message[];
  /** The ids of all messages that were added, changed or deleted. */
  readonly messageIds: string[];
  /** Goes on right behind this event. */
  readonly resumeToken: string;
  /** When the change was committed. Undefined for `watching`. */
  readonly eventTime?: Date;
}

/** What a credential may do in its project; each may do all that those before it may. */
export type Role = "reader" | "writer" | "admin";

/** An API key, without its secret. */
export interface Key {
  /** A UUID set by the service. */
  readonly keyId: string;
  /** What it is for, as its creator said. */
  readonly name: string;
  /** The project whose data it opens. */
  readonly project: string;
  /** Undefined when it is one that a later service has. */
  readonly role?: Role;
  /** Whom it is bound to; undefined when it is bound to nobody. */
  readonly userId?: string;
  readonly createTime: Date;
  /** From when on it is worthless by itself; undefined: never. */
  readonly expireTime?: Date;
  /** Undefined while it is not revoked. */
  readonly revokeTime?: Date;
}

/** What stays of the erasure of a user. It holds nothing of the person, and is kept for ever. */
export interface ErasureReceipt {
  /** A UUID set by the service. */
  readonly receiptId: string;
  /** The SHA-256 of the user's id, in lower-case hexadecimal digits. */
  readonly userIdSha256: string;
  /** How many sessions the erasure took, whoever did its steps. */
  readonly purgedSessions: number;
  readonly purgedMessages: number;
  /** The `x-request-id` of the call that began it. */
  readonly requestId: string;
  /** The id of the API key that it was called with, or `token:` and a hash of the token's subject. Empty where no credentials are asked for. */
  readonly requestedBy: string;
  readonly beginTime: Date;
  readonly endTime: Date;
}
