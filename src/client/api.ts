import type { Listing } from "./listing.js";
import type * as api from "./requests.js";
import type { ErasureReceipt, Key, Message, Session, Summary, User, WatchEvent } from "./resources.js";
import type { CallOptions } from "./scope.js";
import type { ServiceConfig } from "./service-config.js";

/**
 * All calls of the service. Each rejects with a SessionsClientError and nothing else; the comments name the codes that a
 * caller may want to tell apart, with their reasons. Besides, any call can fail with INVALID_ARGUMENT, UNAUTHENTICATED,
 * PERMISSION_DENIED, RESOURCE_EXHAUSTED, UNAVAILABLE, DEADLINE_EXCEEDED, CANCELLED and INTERNAL.
 */
export interface SessionsClient extends SessionCalls, MemoryCalls, UserCalls, PurgeCalls, KeyCalls {
  /** For gRPC clients that are not this one, in any language: how long they wait, and what they try again. This one does as it says without it. */
  readonly serviceConfig: ServiceConfig;
  /** Ends what is under way; every later call fails with CLIENT_CLOSED. Closing twice is fine. */
  close(): void;
}

export interface SessionCalls {
  /** ALREADY_EXISTS (SESSION_ALREADY_EXISTS, SESSION_SOFT_DELETED); FAILED_PRECONDITION (USER_NOT_FOUND). */
  createSession(request: api.CreateSessionRequest, options?: CallOptions): Promise<Session>;
  /** NOT_FOUND (SESSION_NOT_FOUND). */
  getSession(request: api.GetSessionRequest, options?: CallOptions): Promise<Session>;
  /** The live ones of up to 100 sessions, as far as they fit into 4 MiB; the others are named and no error. */
  batchGetSessions(request: api.BatchGetSessionsRequest, options?: CallOptions): Promise<api.BatchGetSessionsResponse>;
  /** NOT_FOUND (SESSION_NOT_FOUND); ABORTED (ETAG_MISMATCH); FAILED_PRECONDITION (USER_NOT_FOUND). */
  updateSession(request: api.UpdateSessionRequest, options?: CallOptions): Promise<Session>;
  /**
   * Soft-deletes the session and its memory, at once for every reader. Resolves with the soft-deleted session, or with
   * undefined when `allowMissing` is set and there is none. NOT_FOUND (SESSION_NOT_FOUND); ABORTED (ETAG_MISMATCH).
   */
  deleteSession(request: api.DeleteSessionRequest, options?: CallOptions): Promise<Session | undefined>;
  /**
   * ALREADY_EXISTS (SESSION_NOT_DELETED); NOT_FOUND (SESSION_NOT_FOUND); FAILED_PRECONDITION (MEMORY_NOT_RESTORABLE,
   * USER_NOT_FOUND).
   */
  undeleteSession(request: api.UndeleteSessionRequest, options?: CallOptions): Promise<Session>;
  /** Erases the session and its memory, live or soft-deleted; nothing can be recovered. NOT_FOUND (SESSION_NOT_FOUND). */
  purgeSession(request: api.PurgeSessionRequest, options?: CallOptions): Promise<api.PurgeSessionResponse>;
  /**
   * Makes a session with a copy of another one's memory. NOT_FOUND (SESSION_NOT_FOUND, MESSAGE_NOT_FOUND); ALREADY_EXISTS
   * (SESSION_ALREADY_EXISTS, SESSION_SOFT_DELETED); FAILED_PRECONDITION (USER_NOT_FOUND).
   */
  forkSession(request: api.ForkSessionRequest, options?: CallOptions): Promise<Session>;
  /** INVALID_ARGUMENT (INVALID_CURSOR) for a cursor of a listing with other filters or another order. */
  listSessions(request?: api.ListSessionsRequest, options?: CallOptions): Listing<Session>;
  /**
   * What happens from now on, or behind a token: of one session, of a user's, or of all. The first event is `watching`: what is read after
   * it, and all later events, is complete. It goes on by itself after a lost connection or a restart, with no event lost; some may come
   * twice. It ends when its signal is aborted or its reader leaves. OUT_OF_RANGE (RESUME_TOKEN_EXPIRED) when it was away for too
   * long: list anew; INVALID_ARGUMENT (INVALID_CURSOR) for a token of another filter.
   */
  watchSessions(request?: api.WatchSessionsRequest, options?: CallOptions): AsyncIterable<WatchEvent>;
}

export interface MemoryCalls {
  /**
   * Appends messages, all or none, and creates or undeletes the session when need be. Of those that are there already, the first of the
   * call, none is added again. ALREADY_EXISTS
   * (MESSAGE_ID_CONFLICT); ABORTED (SEQUENCE_MISMATCH); FAILED_PRECONDITION (USER_NOT_FOUND).
   */
  addMemory(request: api.AddMemoryRequest, options?: CallOptions): Promise<api.AddMemoryResponse>;
  /** What a prompt needs: the summary and the newest messages. A missing session is an empty memory. */
  getMemory(request: api.GetMemoryRequest, options?: CallOptions): Promise<api.Memory>;
  /** All messages, the oldest first. A missing session has none. */
  listMessages(request: api.ListMessagesRequest, options?: CallOptions): Listing<Message>;
  /** NOT_FOUND (SESSION_NOT_FOUND, MESSAGE_NOT_FOUND). */
  getMessage(request: api.MessageRequest, options?: CallOptions): Promise<Message>;
  /**
   * Changes metadata, token count and what the message says; what that was before is gone for good. NOT_FOUND (SESSION_NOT_FOUND,
   * MESSAGE_NOT_FOUND); ABORTED (ETAG_MISMATCH).
   */
  updateMessage(request: api.UpdateMessageRequest, options?: CallOptions): Promise<Message>;
  /** Cannot be undone. Resolves with the message as it was. NOT_FOUND (SESSION_NOT_FOUND, MESSAGE_NOT_FOUND). */
  deleteMessage(request: api.MessageRequest, options?: CallOptions): Promise<Message>;
  /**
   * Takes away all later messages in one step; cannot be undone. When its answer got lost, it can be made again with the same
   * `expectedLastSequence`, and takes away nothing that was added since. NOT_FOUND (SESSION_NOT_FOUND, MESSAGE_NOT_FOUND); ABORTED
   * (SEQUENCE_MISMATCH); FAILED_PRECONDITION (TOO_MANY_MESSAGES).
   */
  rewindMemory(request: api.RewindMemoryRequest, options?: CallOptions): Promise<api.RewindMemoryResponse>;
  /** Deletes all messages and the summary; cannot be undone. NOT_FOUND (SESSION_NOT_FOUND). */
  clearMemory(request: api.ClearMemoryRequest, options?: CallOptions): Promise<Session>;
  /** NOT_FOUND (SESSION_NOT_FOUND); FAILED_PRECONDITION (MESSAGE_NOT_FOUND); ABORTED (SUMMARY_SUPERSEDED). */
  setSummary(request: api.SetSummaryRequest, options?: CallOptions): Promise<Summary>;
  /**
   * Finds messages in one session, or in all of a user's. What is not there has nothing to be found. RESOURCE_EXHAUSTED
   * (SCOPE_TOO_LARGE); FAILED_PRECONDITION (EMBEDDINGS_NOT_CONFIGURED).
   */
  searchMemory(request: api.SearchMemoryRequest, options?: CallOptions): Promise<api.SearchMemoryResponse>;
}

export interface UserCalls {
  /** ALREADY_EXISTS (USER_ALREADY_EXISTS), also when the user is soft-deleted. */
  createUser(request: api.CreateUserRequest, options?: CallOptions): Promise<User>;
  /** NOT_FOUND (USER_NOT_FOUND). */
  getUser(request: api.GetUserRequest, options?: CallOptions): Promise<User>;
  /** NOT_FOUND (USER_NOT_FOUND); ABORTED (ETAG_MISMATCH). */
  updateUser(request: api.UpdateUserRequest, options?: CallOptions): Promise<User>;
  /** Soft-deletes the user with all their sessions and memory. NOT_FOUND (USER_NOT_FOUND). */
  deleteUser(request: api.DeleteUserRequest, options?: CallOptions): Promise<User>;
  /** ALREADY_EXISTS (USER_NOT_DELETED); NOT_FOUND (USER_NOT_FOUND); FAILED_PRECONDITION (MEMORY_NOT_RESTORABLE). */
  undeleteUser(request: api.UndeleteUserRequest, options?: CallOptions): Promise<User>;
  /** Erases the user with all their sessions and memory; nothing can be recovered. NOT_FOUND (USER_NOT_FOUND). */
  purgeUser(request: api.PurgeUserRequest, options?: CallOptions): Promise<api.PurgeUserResponse>;
  /** The live users, in the order of their `createTime`. */
  listUsers(request?: api.ListUsersRequest, options?: CallOptions): Listing<User>;
}

export interface PurgeCalls {
  /** Erases what was soft-deleted long enough ago, also before its `purgeTime`. */
  purgeDeleted(request?: api.PurgeDeletedRequest, options?: CallOptions): Promise<api.PurgeDeletedResponse>;
  /** The receipts of all users whom `purgeUser` has erased, in the order of their `endTime`. For admins. */
  listErasures(request?: api.ListErasuresRequest, options?: CallOptions): Listing<ErasureReceipt>;
}

/** For admins. */
export interface KeyCalls {
  /** The secret is in the answer and nowhere else. */
  createKey(request: api.CreateKeyRequest, options?: CallOptions): Promise<api.CreateKeyResponse>;
  /** In the order of their `createTime`, revoked and expired ones too. */
  listKeys(request?: api.ListKeysRequest, options?: CallOptions): Listing<Key>;
  /** The key is worthless everywhere within 10 seconds. One that is revoked already stays as it is. NOT_FOUND (KEY_NOT_FOUND). */
  revokeKey(request: api.RevokeKeyRequest, options?: CallOptions): Promise<Key>;
}
