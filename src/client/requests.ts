import type { ErasureReceipt, JsonObject, Key, Message, Role, RoleType, Session, Summary } from "./resources.js";

/**
 * What calls take and give, where that is not a resource itself.
 *
 * Ids are any non-blank text of at most 256 code points without control characters. Metadata is any JSON object of at
 * most 64 KiB and 32 levels.
 */

/**
 * What an update does with the metadata it carries. `merge` (default): objects merge key by key, all else is replaced, null
 * is stored. `merge-patch`: the same, but null removes its key. `replace`: the metadata becomes exactly what is sent.
 */
export type MetadataMode = "merge" | "merge-patch" | "replace";

export type SessionOrder = "createTime" | "updateTime" | "lastMessageTime";

/** When a session is to expire: one of the two, or neither. */
export interface Expiry {
  /** At this moment, which lies in the future. */
  readonly expireTime?: Date;
  /** When nothing was added to it for so many milliseconds. */
  readonly idleTtlMs?: number;
}

/** Without an expiry the session gets the one that the service is configured to give, if any. */
export interface CreateSessionRequest extends Expiry {
  readonly sessionId: string;
  /** A live user. */
  readonly userId?: string;
  readonly metadata?: JsonObject;
}

export interface GetSessionRequest {
  readonly sessionId: string;
  /** Whether a soft-deleted session is returned too. */
  readonly showDeleted?: boolean;
}

export interface BatchGetSessionsRequest {
  /** From 1 to 100. */
  readonly sessionIds: readonly string[];
}

export interface BatchGetSessionsResponse {
  /** Those that were found, in the order of the request. */
  readonly sessions: Session[];
  readonly missingSessionIds: string[];
  /** Of those that are there, but did not fit into 4 MiB with the others: ask for them again. */
  readonly unreadSessionIds: string[];
}

/** Without an expiry that of the session stays as it is. */
export interface UpdateSessionRequest extends Expiry {
  readonly sessionId: string;
  readonly metadata?: JsonObject;
  readonly metadataMode?: MetadataMode;
  /** The new user; null: nobody; undefined: as it is. */
  readonly userId?: string | null;
  readonly etag?: string;
  /** Whether the session is not to expire any more. Not together with an expiry. */
  readonly clearExpiry?: boolean;
}

export interface DeleteSessionRequest {
  readonly sessionId: string;
  /** Whether it is fine when there is no live session of this id. Also makes the call safe to retry. */
  readonly allowMissing?: boolean;
  readonly etag?: string;
}

export interface UndeleteSessionRequest {
  readonly sessionId: string;
  /** Whether the memory that the deletion took comes back too. Default false: it stays deleted for good. */
  readonly restoreMemory?: boolean;
}

export interface PurgeSessionRequest {
  readonly sessionId: string;
}

export interface PurgeSessionResponse {
  readonly purgedMessages: number;
}

export interface ForkSessionRequest {
  readonly sessionId: string;
  /**
   * The id of the session that is made. Undefined: the service makes a UUID. With an id of your own you can repeat a call whose answer
   * was lost: it is ALREADY_EXISTS then if it succeeded.
   */
  readonly newSessionId?: string;
  /** The last message that is copied. Undefined: the whole memory is. */
  readonly upToMessageId?: string;
  /** The new session's user; null: nobody; undefined: that of the session that is copied. */
  readonly userId?: string | null;
  /** Merged over the metadata of the session that is copied. */
  readonly metadata?: JsonObject;
}

/** What every listing takes. */
export interface ListingRequest {
  /** How many items at most, across all resumptions. Undefined or 0: all. */
  readonly limit?: number;
  /** The `nextCursor` of an earlier listing with the same filters and order. Undefined or empty: from the beginning. */
  readonly cursor?: string;
  /** How many items come at a time, at most 1000. Default 100. */
  readonly chunkSize?: number;
}

/** At most one of `sessionId` and `userId`; neither: all sessions of the project. */
export interface WatchSessionsRequest {
  readonly sessionId?: string;
  readonly userId?: string;
  /** Of the event to go on behind, of a call with the same filter. */
  readonly resumeToken?: string;
}

export interface ListSessionsRequest extends ListingRequest {
  readonly userId?: string;
  /**
   * Only sessions whose metadata contains this. An object contains another when it has each key of the other, with a value
   * that contains the other's; an array, when for each element of the other it has one that contains it, whatever their
   * order and number; a scalar contains only its equal. So `{ t: ["b"] }` and `{ t: [] }` find `{ t: ["a", "b"] }`, and
   * `{ t: "b" }` does not. Undefined or empty: all sessions.
   */
  readonly metadata?: JsonObject;
  /** Only sessions created after this time, itself excluded. */
  readonly createdAfter?: Date;
  /** Only sessions created before this time, itself excluded. */
  readonly createdBefore?: Date;
  /** Only sessions whose `lastMessageTime` is after this time, itself excluded. One that has none never matches, here and below. */
  readonly lastMessageAfter?: Date;
  /** Only sessions whose `lastMessageTime` is before this time, itself excluded. */
  readonly lastMessageBefore?: Date;
  /** Default `createTime`: the only order under which each session that lives throughout comes exactly once. */
  readonly order?: SessionOrder;
  /** Whether the newest come first. */
  readonly descending?: boolean;
  /** Whether soft-deleted sessions are listed too. */
  readonly showDeleted?: boolean;
}

export interface NewMessage {
  /** Undefined: the client makes a UUID, so that the call can be retried. */
  readonly messageId?: string;
  /** The speaker, in your own words, at most 256 code points. */
  readonly role?: string;
  readonly roleType?: RoleType;
  /** At most 1 MiB of UTF-8. */
  readonly content?: string;
  /** What the message is beyond its text, kept and returned as it is. At most 1 MiB. */
  readonly payload?: Uint8Array;
  /** The media type of `payload`. */
  readonly payloadType?: string;
  readonly metadata?: JsonObject;
  readonly tokenCount?: number;
  /** Not in the future, but for 10 s that clocks may differ by. Undefined: now. */
  readonly createTime?: Date;
  /** What the message belongs to together with others of its session, such as a tool call with its results. An id like the others. */
  readonly groupId?: string;
}

/** The expiry is used only when this call creates the session. */
export interface AddMemoryRequest extends Expiry {
  readonly sessionId: string;
  /**
   * At most 1000, and 8 MiB in all. None: the session is only created or undeleted. They may begin with what is there already, the same
   * and in the same order, as when the whole transcript is sent each time: then each needs a `messageId`, and only what follows is added.
   */
  readonly messages?: readonly NewMessage[];
  /** Used only when this call creates the session. */
  readonly userId?: string;
  /** Used only when this call creates the session. */
  readonly sessionMetadata?: JsonObject;
  /** The sequence of the newest message that you have seen; 0: none yet. Another one is ABORTED. */
  readonly expectedLastSequence?: number;
  /**
   * What to do to the session's metadata, new or not, together with what is added. A call all of whose messages are there already does
   * not do it again.
   */
  readonly mergeSessionMetadata?: JsonObject;
  readonly metadataMode?: MetadataMode;
}

export interface AddedMessage {
  readonly messageId: string;
  readonly sequence: number;
  readonly createTime: Date;
}

export interface AddMemoryResponse {
  /** One for each message of the request, in its order. */
  readonly messages: AddedMessage[];
  readonly sessionCreated: boolean;
  readonly sessionUndeleted: boolean;
}

export interface GetMemoryRequest {
  readonly sessionId: string;
  /** The newest n, at most 1000. Undefined or 0: what follows the summary, at most the service's memory window. */
  readonly lastN?: number;
  /**
   * How many bytes the answer may have; then the newest messages come that fit. Undefined or 0: as many as the service gives at most,
   * 67108864 (64 MiB).
   */
  readonly maxBytes?: number;
  /** How many tokens the summary and the messages may have together; then the newest messages come that fit. Undefined or 0: any number. */
  readonly maxTokens?: number;
  /** Default `any`. */
  readonly windowStart?: WindowStart;
}

/**
 * Where the messages of a memory may begin, so that a model takes them; those before are left out. `whole-tool-calls`: not with a message of
 * role type tool or function, nor with a part of a group of which an older message is not returned. `user`: with a message of role type user.
 */
export type WindowStart = "any" | "whole-tool-calls" | "user";

export interface Memory {
  /** Oldest first. */
  readonly messages: Message[];
  readonly summary?: Summary;
  /** Undefined when there is no live session. */
  readonly session?: Session;
  /** Whether older messages that were asked for are left out, because they do not fit into `maxBytes`. */
  readonly truncated: boolean;
  /** How many tokens the summary and the messages have together; where nobody has counted them, by their bytes. */
  readonly tokenCount: number;
}

export interface ListMessagesRequest extends ListingRequest {
  readonly sessionId: string;
  /** Whether the newest come first. */
  readonly descending?: boolean;
}

export interface MessageRequest {
  readonly sessionId: string;
  readonly messageId: string;
}

export interface UpdateMessageRequest extends MessageRequest {
  readonly metadata?: JsonObject;
  readonly metadataMode?: MetadataMode;
  readonly tokenCount?: number;
  /** At most 1 MiB of UTF-8. Empty: none; undefined: as it is. What was there before is gone for good, as with the payload. */
  readonly content?: string;
  /** At most 1 MiB. Empty: none; undefined: as it is. */
  readonly payload?: Uint8Array;
  /** The media type of `payload`. Empty: none; undefined: as it is. */
  readonly payloadType?: string;
  readonly etag?: string;
}

export interface RewindMemoryRequest {
  readonly sessionId: string;
  /** The last message that stays. Exactly one of `afterMessageId` and `afterSequence`. */
  readonly afterMessageId?: string;
  /** The sequence behind which all messages are taken away. 0: all. */
  readonly afterSequence?: number;
  /** The sequence of the newest message that you have seen; another one is ABORTED. */
  readonly expectedLastSequence?: number;
}

export interface RewindMemoryResponse {
  /** What was taken away, oldest first: as much as fits into 4 MiB. */
  readonly messages: Message[];
  readonly session: Session;
  /** How many messages were taken away, at most 1000. */
  readonly rewoundMessages: number;
  /** Whether the newest of them are not in `messages`. */
  readonly truncated: boolean;
}

export interface ClearMemoryRequest {
  readonly sessionId: string;
}

export interface SetSummaryRequest {
  readonly sessionId: string;
  /** At most 1 MiB of UTF-8. */
  readonly content?: string;
  /** The last message that the summary covers: not one before the last that the stored summary covers. */
  readonly recentMessageId: string;
  readonly metadata?: JsonObject;
  readonly tokenCount?: number;
}

/** `lexical` compares words, `semantic` meanings, `hybrid` both. */
export type SearchMode = "lexical" | "semantic" | "hybrid";

export interface SearchMemoryRequest {
  /** What to look for. At least one of `text` and `metadata`. */
  readonly text?: string;
  /** Only messages whose own metadata contains this, as in ListSessionsRequest. Without `text` the newest of them come first. */
  readonly metadata?: JsonObject;
  /** The session to search in. Exactly one of `sessionId` and `userId`. */
  readonly sessionId?: string;
  /** The user in all of whose live sessions to search. */
  readonly userId?: string;
  /** Only messages of one of these kinds of speaker. Undefined or empty: all. */
  readonly roleTypes?: readonly RoleType[];
  /** Only messages made after this time, itself excluded. */
  readonly createdAfter?: Date;
  /** Only messages made before this time, itself excluded. */
  readonly createdBefore?: Date;
  /** At most 100. Default 10. */
  readonly limit?: number;
  /** Default: the best that the service has. */
  readonly mode?: SearchMode;
  /** How many messages come with each result from right before and right after it, at most 10. Default 0. */
  readonly neighbors?: number;
}

export interface SearchResult {
  readonly message: Message;
  /** Larger is better; comparable within one answer only. */
  readonly score: number;
  /** Oldest first. */
  readonly before: Message[];
  readonly after: Message[];
}

export interface SearchMemoryResponse {
  /** The best first. */
  readonly results: SearchResult[];
  /** How messages were compared. Undefined when it is a way that a later service has. */
  readonly mode?: SearchMode;
  /** How many messages of the scope the service has yet to embed; 0 without an embeddings endpoint. */
  readonly unembeddedMessages: number;
}

export interface CreateUserRequest {
  readonly userId: string;
  /** At most 256 code points, as are the names. */
  readonly email?: string;
  readonly firstName?: string;
  readonly lastName?: string;
  readonly metadata?: JsonObject;
}

export interface GetUserRequest {
  readonly userId: string;
}

export interface UpdateUserRequest {
  readonly userId: string;
  /** Empty: none; undefined: as it is. The names likewise. */
  readonly email?: string;
  readonly firstName?: string;
  readonly lastName?: string;
  readonly metadata?: JsonObject;
  readonly metadataMode?: MetadataMode;
  readonly etag?: string;
}

export interface DeleteUserRequest {
  readonly userId: string;
}

export interface UndeleteUserRequest {
  readonly userId: string;
  /** Whether the sessions that the deletion took come back too, with their memory. */
  readonly restoreSessions?: boolean;
}

export interface PurgeUserRequest {
  readonly userId: string;
}

export interface PurgeUserResponse {
  /** What this call erased, here and below. */
  readonly purgedSessions: number;
  readonly purgedMessages: number;
  readonly receipt: ErasureReceipt;
}

export type ListUsersRequest = ListingRequest;

export interface PurgeDeletedRequest {
  /** Milliseconds since the soft-deletion, at least. Undefined: the service's retention. 0: all that is soft-deleted. */
  readonly olderThanMs?: number;
  /** Whether only to count. */
  readonly dryRun?: boolean;
}

export interface PurgeDeletedResponse {
  readonly purgedSessions: number;
  readonly purgedMessages: number;
  readonly purgedUsers: number;
}

export type ListErasuresRequest = ListingRequest;

export interface CreateKeyRequest {
  /** What the key is for, at most 256 code points. */
  readonly name: string;
  readonly role: Role;
  /** Binds the key to this user: it reaches their sessions and memory alone. Not for an admin. */
  readonly userId?: string;
  /** From when on the key is worthless by itself. Undefined: never. */
  readonly expireTime?: Date;
  /** Undefined: the caller's own. Another one only an admin of the project `default` may name, here and below. */
  readonly project?: string;
}

export interface CreateKeyResponse {
  readonly key: Key;
  /** What its holder shows: `createClient({ key: secret })`. Nobody can read it again. */
  readonly secret: string;
}

export interface ListKeysRequest extends ListingRequest {
  readonly project?: string;
}

export interface RevokeKeyRequest {
  readonly keyId: string;
  readonly project?: string;
}
