import { randomUUID } from "node:crypto";
import { MetadataMode } from "../../gen/sessions/v1/resources.js";
import type * as api from "../../gen/sessions/v1/user_service.js";
import type { Call } from "../domain/call.js";
import { decodeCursor, encodeCursor, isTimePosition } from "../domain/cursor.js";
import { userAlreadyExists, userNotFound } from "../domain/errors.js";
import { keyOf } from "../domain/keys.js";
import { newId } from "../domain/new-id.js";
import type { UserRecord } from "../domain/records.js";
import { deleteUser, live, undeleteUser, updateUser } from "../domain/user.js";
import type { Retirement } from "../store/erasing/retirement.js";
import type { UserStore } from "../store/users.js";
import { createChecks } from "./checks.js";
import { metadataUpdate, storedMetadata, toErasureReceipt, toUser } from "./convert.js";
import { inChunks, utf8Bytes } from "./listing.js";
import type { Purger } from "./purging/purger.js";

export interface UserDeps {
  readonly users: UserStore;
  readonly retirement: Retirement;
  readonly purger: Purger;
  readonly retentionMs: number;
  /** About what the database's clock says. */
  readonly now: () => Date;
}

export type UserService = ReturnType<typeof createUserService>;

export function createUserService({ users, retirement, purger, retentionMs, now: clock }: UserDeps) {
  /** Whoever is told that a user is gone, also by NOT_FOUND, must not find any of their sessions. */
  const finishRetiring = async (user: UserRecord | undefined): Promise<void> => {
    if (user?.deleted && user.task) await retirement.retireSessionsOf(user);
  };

  return {
    async createUser(request: api.CreateUserRequest, call: Call): Promise<api.CreateUserResponse> {
      const { userId, email, firstName, lastName, metadata } = request;
      const checks = createChecks();
      checks.id("user_id", userId);
      checks.text("email", email);
      checks.text("first_name", firstName);
      checks.text("last_name", lastName);
      checks.metadata("metadata", metadata);
      checks.done();

      const now = clock();
      const user: UserRecord = {
        _id: keyOf(call.project, userId),
        project: call.project,
        uid: randomUUID(),
        email,
        firstName,
        lastName,
        metadata: storedMetadata(metadata),
        createTime: now,
        updateTime: now,
        version: 1,
        epoch: newId(),
        sessionCount: 0,
        deleted: false,
      };
      if (!(await users.insert(call, user))) throw userAlreadyExists(userId);
      return { user: toUser(user) };
    },

    async getUser({ userId }: api.GetUserRequest, call: Call): Promise<api.GetUserResponse> {
      checkUserId(userId);
      const key = keyOf(call.project, userId);
      return { user: toUser(live(await users.get(call, key), key)) };
    },

    async updateUser(request: api.UpdateUserRequest, call: Call): Promise<api.UpdateUserResponse> {
      const { userId, email, firstName, lastName, metadataMode, etag } = request;
      const checks = createChecks();
      checks.id("user_id", userId);
      checks.text("email", email);
      checks.text("first_name", firstName);
      checks.text("last_name", lastName);
      checks.metadata("metadata", request.metadata);
      checks.oneOf("metadata_mode", metadataMode, MetadataMode);
      checks.etag("etag", etag);
      checks.done();

      const key = keyOf(call.project, userId);
      const apply = metadataUpdate(request.metadata, metadataMode);
      const update = {
        etag,
        fields: {
          ...(email !== undefined && { email }),
          ...(firstName !== undefined && { firstName }),
          ...(lastName !== undefined && { lastName }),
        },
        metadata: apply && ((current: Uint8Array | undefined) => storedMetadata(apply(current))),
      };
      return { user: toUser(await users.change(call, key, (user, now) => updateUser(user, key, update, now))) };
    },

    async deleteUser({ userId }: api.DeleteUserRequest, call: Call): Promise<api.DeleteUserResponse> {
      checkUserId(userId);
      const key = keyOf(call.project, userId);
      await finishRetiring(await users.get(call, key));
      const user = await users.change(call, key, (found, now) => deleteUser(found, key, { retentionMs }, now));
      await retirement.retireSessionsOf(user);
      purger.nudgeUser(user);
      return { user: toUser(user) };
    },

    async undeleteUser(request: api.UndeleteUserRequest, call: Call): Promise<api.UndeleteUserResponse> {
      const { userId, restoreSessions } = request;
      checkUserId(userId);
      const key = keyOf(call.project, userId);
      for (;;) {
        const before = await users.get(call, key);
        await finishRetiring(before);
        const user = await users.change(call, key, (found, now) =>
          found?.version === before?.version
            ? undeleteUser(found, key, { epoch: newId(), restoreSessions }, now)
            : undefined,
        );
        if (user === undefined) continue;
        if (restoreSessions) await purger.restoreSessionsOf(call, user);
        return { user: toUser(live(await users.get(call, key), key)) };
      }
    },

    async purgeUser({ userId }: api.PurgeUserRequest, call: Call): Promise<api.PurgeUserResponse> {
      checkUserId(userId);
      const request = { receipt: randomUUID(), requestId: call.requestId, requestedBy: call.credential ?? "" };
      const purged = await purger.purgeUser(call, keyOf(call.project, userId), () => true, request);
      if (!purged) throw userNotFound(userId);
      const { sessions, messages, receipt } = purged;
      return { purgedSessions: sessions, purgedMessages: messages, receipt: receipt && toErasureReceipt(receipt) };
    },

    async *listUsers(request: api.ListUsersRequest, call: Call): AsyncGenerator<api.ListUsersResponse> {
      const checks = createChecks();
      checks.count("limit", request.limit);
      checks.count("chunk_size", request.chunkSize);
      checks.done();

      const identity = ["users", call.project];
      const from = decodeCursor(identity, request.cursor, isTimePosition);
      const pages = {
        read: (after: [number, string] | undefined, limit: number) => users.page(call, after, limit),
        positionOf: (user: UserRecord): [number, string] => [user.createTime.getTime(), user._id],
        sizeOf: (user: UserRecord) =>
          USER_BYTES + utf8Bytes(user._id, user.email, user.firstName, user.lastName) + (user.metadata?.length ?? 0),
      };
      for await (const { items, next } of inChunks(pages, from, request)) {
        yield { users: items.map(toUser), nextCursor: next ? encodeCursor(identity, next) : "" };
      }
    },
  };
}

function checkUserId(userId: string): void {
  const checks = createChecks();
  checks.id("user_id", userId);
  checks.done();
}

/** A user on the wire, without id, texts and metadata. */
const USER_BYTES = 200;
