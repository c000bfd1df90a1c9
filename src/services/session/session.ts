import type { Timestamp } from "../../../gen/google/protobuf/timestamp.js";
import { MetadataMode } from "../../../gen/sessions/v1/resources.js";
import type * as api from "../../../gen/sessions/v1/session_service.js";
import { SessionOrder } from "../../../gen/sessions/v1/session_service.js";
import type { Call } from "../../domain/call.js";
import { decodeCursor, encodeCursor, isTimePosition } from "../../domain/cursor.js";
import type { Encoded } from "../../domain/encoded.js";
import { sessionNotFound } from "../../domain/errors.js";
import { keyOf } from "../../domain/keys.js";
import { MAX_BATCH_IDS } from "../../domain/limits.js";
import { canonicalJson, contains } from "../../domain/metadata.js";
import { filterTerms } from "../../domain/metadata-terms.js";
import { newId } from "../../domain/new-id.js";
import type { SessionRecord } from "../../domain/records.js";
import { createSession, deleteSession, undeleteSession, updateSession } from "../../domain/session.js";
import type { GroupCommit } from "../../store/changes/group-commit.js";
import type { RawDocument } from "../../store/raw.js";
import type { SessionListing, SessionReader, SessionOrder as StoredOrder } from "../../store/sessions.js";
import type { UserStore } from "../../store/users.js";
import { createChecks, millisecondsOf } from "../checks.js";
import { loadedMetadata, toSession } from "../convert.js";
import { encodeBatchGetSessions, encodeGetSession, encodeListSessions, storedSessionBytes } from "../encode.js";
import { inChunks } from "../listing.js";
import type { Purger } from "../purging/purger.js";
import type { RestoreSession } from "../purging/restoration.js";
import { ownerFor } from "../reach.js";
import { checkExpiry, expiryOf } from "./expiry.js";
import type { MakeSession } from "./new-session.js";
import { sessionMetadataChange } from "./session-metadata.js";

export interface SessionDeps {
  readonly changes: GroupCommit;
  readonly sessions: SessionReader;
  readonly users: UserStore;
  readonly purger: Purger;
  readonly restoreSession: RestoreSession;
  readonly makeSession: MakeSession;
  readonly retentionMs: number;
  /** About what the database's clock says. */
  readonly now: () => Date;
}

export type SessionService = ReturnType<typeof createSessionService>;

export function createSessionService(deps: SessionDeps) {
  const { changes, sessions, users, purger, restoreSession, makeSession, retentionMs, now } = deps;

  return {
    async createSession(request: api.CreateSessionRequest, call: Call): Promise<api.CreateSessionResponse> {
      const { sessionId, userId, metadata } = request;
      const checks = createChecks();
      checks.id("session_id", sessionId);
      checks.optionalId("user_id", userId);
      checks.metadata("metadata", metadata);
      checkExpiry(checks, request.expiry, now());
      checks.done();

      const input = makeSession(call, sessionId, { userId, metadata, expiry: expiryOf(request.expiry) });
      const session = await changes.submit(call, {
        session: input.key,
        users: () => [input.user],
        namedUsers: [input.user],
        decide: (state) => createSession(state, input),
      });
      return { session: toSession(session) };
    },

    async getSession(
      { sessionId, showDeleted }: api.GetSessionRequest,
      call: Call,
    ): Promise<Encoded<api.GetSessionResponse>> {
      checkSessionId(sessionId);
      const session = await sessions.get(call, keyOf(call.project, sessionId), showDeleted);
      if (!session) throw sessionNotFound(sessionId);
      return encodeGetSession(session);
    },

    async batchGetSessions(
      { sessionIds }: api.BatchGetSessionsRequest,
      call: Call,
    ): Promise<Encoded<api.BatchGetSessionsResponse>> {
      const checks = createChecks();
      checks.size("session_ids", sessionIds.length, { min: 1, max: MAX_BATCH_IDS });
      for (const [index, sessionId] of sessionIds.slice(0, MAX_BATCH_IDS).entries()) {
        checks.id(`session_ids[${index}]`, sessionId);
      }
      checks.done();

      const keyFor = (sessionId: string): string => keyOf(call.project, sessionId);
      const found = await sessions.getMany(call, sessionIds.map(keyFor));
      return encodeBatchGetSessions(sessionIds, (sessionId) => found.get(keyFor(sessionId)));
    },

    /** With `undelete`, a deleted session is live again with the update, without its memory. */
    async updateSession(
      request: api.UpdateSessionRequest,
      call: Call,
      { undelete = false } = {},
    ): Promise<api.UpdateSessionResponse> {
      const { sessionId, userId, etag, metadataMode, clearExpiry } = request;
      const checks = createChecks();
      checks.id("session_id", sessionId);
      if (userId) checks.id("user_id", userId);
      checks.metadata("metadata", request.metadata);
      checks.oneOf("metadata_mode", metadataMode, MetadataMode);
      checks.etag("etag", etag);
      checkExpiry(checks, request.expiry, now());
      if (clearExpiry && request.expiry)
        checks.fail("clear_expiry", "Comes with an expiry: send one of them, or neither.");
      checks.done();

      const key = keyOf(call.project, sessionId);
      const expiry = clearExpiry ? ("none" as const) : expiryOf(request.expiry);
      if (userId !== undefined) ownerFor(call, userId);
      const user = userId && keyOf(call.project, userId);
      const metadata = sessionMetadataChange(call, "metadata", request.metadata, metadataMode);
      const undeleteUnder = undelete ? newId() : undefined;
      const session = await changes.submit(call, {
        session: key,
        users: (found) => (user === undefined ? (undelete && found?.deleted ? [found.user] : []) : [found?.user, user]),
        namedUsers: [user],
        newest: request.expiry?.$case === "idleTtl",
        decide: (state) => updateSession(state, key, { etag, user, metadata, expiry, undeleteUnder }),
      });
      return { session: toSession(session) };
    },

    async deleteSession(request: api.DeleteSessionRequest, call: Call): Promise<api.DeleteSessionResponse> {
      const { sessionId, allowMissing, etag } = request;
      const checks = createChecks();
      checks.id("session_id", sessionId);
      checks.etag("etag", etag);
      checks.done();

      const key = keyOf(call.project, sessionId);
      const session = await changes.submit(call, {
        session: key,
        users: (found) => [found?.user],
        decide: (state) => deleteSession(state, key, { allowMissing, etag, retentionMs }),
      });
      if (session?.retired) purger.nudge(key);
      return { session: session && toSession(session) };
    },

    async undeleteSession(request: api.UndeleteSessionRequest, call: Call): Promise<api.UndeleteSessionResponse> {
      const { sessionId, restoreMemory } = request;
      checkSessionId(sessionId);
      const key = keyOf(call.project, sessionId);
      const epoch = newId();
      const session = restoreMemory
        ? await restoreSession(call, key)
        : await changes.submit(call, {
            session: key,
            users: (found) => [found?.user],
            decide: (state) => undeleteSession(state, key, epoch),
          });
      return { session: session && toSession(session) };
    },

    async purgeSession({ sessionId }: api.PurgeSessionRequest, call: Call): Promise<api.PurgeSessionResponse> {
      checkSessionId(sessionId);
      const purgedMessages = await purger.purgeSession(call, keyOf(call.project, sessionId), () => true);
      if (purgedMessages === undefined) throw sessionNotFound(sessionId);
      return { purgedMessages };
    },

    async *listSessions(
      request: api.ListSessionsRequest,
      call: Call,
    ): AsyncGenerator<Encoded<api.ListSessionsResponse>> {
      const { userId, metadata = {}, order, descending, showDeleted } = request;
      const checks = createChecks();
      checks.count("limit", request.limit);
      checks.count("chunk_size", request.chunkSize);
      checks.optionalId("user_id", userId);
      checks.metadata("metadata", metadata);
      checks.time("created_after", request.createdAfter);
      checks.time("created_before", request.createdBefore);
      checks.time("last_message_after", request.lastMessageAfter);
      checks.time("last_message_before", request.lastMessageBefore);
      checks.oneOf("order", order, SessionOrder);
      checks.done();

      const listing: SessionListing = {
        project: call.project,
        user: userId === undefined ? call.user : keyOf(call.project, userId),
        terms: filterTerms(call.project, metadata),
        createdAfter: lastAt(request.createdAfter),
        createdBefore: firstFrom(request.createdBefore),
        lastMessageAfter: lastAt(request.lastMessageAfter),
        lastMessageBefore: firstFrom(request.lastMessageBefore),
        order: ORDERS[order],
        descending,
        showDeleted,
      };
      // The terms say no more than the metadata does, and their order depends on that of its keys.
      const identity = ["sessions", { ...listing, terms: canonicalJson(metadata) }];
      const from = decodeCursor(identity, request.cursor, isTimePosition);

      // A user's sessions vanish with the user, also while they are still being retired one by one.
      if (listing.user && !showDeleted && (await users.get(call, listing.user))?.deleted) return;

      const pages = {
        read: (after: [number, string] | undefined, limit: number) => sessions.page(call, listing, after, limit),
        positionOf(session: RawDocument<SessionRecord>): [number, string] {
          const { _id, [listing.order]: time } = session.pick("_id", listing.order);
          return [time, _id.toString()];
        },
        sizeOf: storedSessionBytes,
        includes: (session: RawDocument<SessionRecord>) =>
          listing.terms.length === 0 || contains(loadedMetadata(session.pick("metadata").metadata), metadata),
      };
      for await (const { items, next } of inChunks(pages, from, request)) {
        yield encodeListSessions(items, next ? encodeCursor(identity, next) : "");
      }
    },
  };
}

/** Stored times are whole milliseconds: those after a part of one are those after the whole of it that has begun. */
const lastAt = (time: Timestamp | undefined): Date | undefined => time && new Date(millisecondsOf(time));

/** And those before a part of one are those before the next. */
const firstFrom = (time: Timestamp | undefined): Date | undefined =>
  time && new Date(millisecondsOf({ ...time, nanos: time.nanos + 999_999 }));

function checkSessionId(sessionId: string): void {
  const checks = createChecks();
  checks.id("session_id", sessionId);
  checks.done();
}

const ORDERS: Record<SessionOrder, StoredOrder> = {
  [SessionOrder.SESSION_ORDER_UNSPECIFIED]: "createTime",
  [SessionOrder.SESSION_ORDER_CREATE_TIME]: "createTime",
  [SessionOrder.SESSION_ORDER_UPDATE_TIME]: "updateTime",
  [SessionOrder.SESSION_ORDER_LAST_MESSAGE_TIME]: "lastMessageTime",
};
