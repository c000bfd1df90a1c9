import { randomUUID } from "node:crypto";
import * as api from "../../gen/sessions/v1/key_service.js";
import type { Call } from "../domain/call.js";
import { decodeCursor, encodeCursor, isTimePosition } from "../domain/cursor.js";
import { keyNotFound, otherProject } from "../domain/errors.js";
import { DEFAULT_PROJECT, idOf, keyOf } from "../domain/keys.js";
import { isProject, PROJECT_RULE, type Role } from "../domain/principal.js";
import type { KeyRecord } from "../domain/records.js";
import type { KeyStore } from "../store/keys.js";
import { type Checks, createChecks, millisecondsOf } from "./checks.js";
import { toTimestamp } from "./convert.js";
import { inChunks, utf8Bytes } from "./listing.js";

export interface KeyDeps {
  readonly keys: KeyStore;
  /** A new secret, and what is stored of it. */
  readonly newSecret: () => { readonly secret: string; readonly hash: string };
  /** Tells the log what has become of a key. */
  readonly onChange: (change: "created" | "revoked", key: KeyRecord, call: Call) => void;
  /** About what the database's clock says. */
  readonly now: () => Date;
}

export type KeyService = ReturnType<typeof createKeyService>;

export function createKeyService({ keys, newSecret, onChange, now }: KeyDeps) {
  return {
    async createKey(request: api.CreateKeyRequest, call: Call): Promise<api.CreateKeyResponse> {
      const { name, role, userId, expireTime, project } = request;
      const checks = createChecks();
      if (name.trim() === "") checks.fail("name", "Required: say what the key is for.");
      checks.text("name", name);
      const stored = STORED_ROLES[role];
      if (!stored) checks.fail("role", "Required: ROLE_READER, ROLE_WRITER or ROLE_ADMIN.");
      checks.optionalId("user_id", userId);
      if (stored === "admin" && userId !== undefined) {
        checks.fail(
          "user_id",
          "A key that is bound to a user is a reader or a writer: it reaches nothing of anybody else's.",
        );
      }
      checks.time("expire_time", expireTime);
      if (expireTime && millisecondsOf(expireTime) <= now().getTime()) checks.fail("expire_time", "Lies in the past.");
      checkProject(checks, project);
      checks.done();

      const owner = projectOf(call, project);
      const { secret, hash } = newSecret();
      const key: KeyRecord = {
        _id: keyOf(owner, randomUUID()),
        project: owner,
        name,
        role: stored as Role,
        user: userId,
        hash,
        createTime: now(),
        expireTime: expireTime && new Date(millisecondsOf(expireTime)),
      };
      await keys.insert(call, key);
      onChange("created", key, call);
      return { key: toKey(key), secret };
    },

    async *listKeys(request: api.ListKeysRequest, call: Call): AsyncGenerator<api.ListKeysResponse> {
      const checks = createChecks();
      checks.count("limit", request.limit);
      checks.count("chunk_size", request.chunkSize);
      checkProject(checks, request.project);
      checks.done();

      const project = projectOf(call, request.project);
      const identity = ["keys", project];
      const from = decodeCursor(identity, request.cursor, isTimePosition);
      const pages = {
        read: (after: [number, string] | undefined, limit: number) => keys.page(call, project, after, limit),
        positionOf: (key: KeyRecord): [number, string] => [key.createTime.getTime(), key._id],
        sizeOf: (key: KeyRecord) => KEY_BYTES + utf8Bytes(key._id, key.project, key.name, key.user),
      };
      for await (const { items, next } of inChunks(pages, from, request)) {
        yield { keys: items.map(toKey), nextCursor: next ? encodeCursor(identity, next) : "" };
      }
    },

    async revokeKey({ keyId, project }: api.RevokeKeyRequest, call: Call): Promise<api.RevokeKeyResponse> {
      const checks = createChecks();
      if (!UUID.test(keyId)) checks.fail("key_id", "Required: the id of a key, a UUID in lower case.");
      checkProject(checks, project);
      checks.done();

      const key = await keys.revoke(call, keyOf(projectOf(call, project), keyId));
      if (!key) throw keyNotFound(keyId);
      onChange("revoked", key, call);
      return { key: toKey(key) };
    },
  };
}

/** Whose keys a call is about. Throws PERMISSION_DENIED for those of another project, unless the caller opens projects. */
function projectOf(call: Call, project: string | undefined): string {
  if (project === undefined || project === call.project) return call.project;
  if (call.project !== DEFAULT_PROJECT) throw otherProject(project);
  return project;
}

function checkProject(checks: Checks, project: string | undefined): void {
  if (project !== undefined && !isProject(project)) checks.fail("project", `A project's name is ${PROJECT_RULE}.`);
}

function toKey(key: KeyRecord): api.Key {
  return {
    keyId: idOf(key._id),
    name: key.name,
    project: key.project,
    role: ROLES[key.role],
    userId: key.user,
    createTime: toTimestamp(key.createTime),
    expireTime: key.expireTime && toTimestamp(key.expireTime),
    revokeTime: key.revokeTime && toTimestamp(key.revokeTime),
  };
}

const ROLES: Readonly<Record<Role, api.Role>> = {
  reader: api.Role.ROLE_READER,
  writer: api.Role.ROLE_WRITER,
  admin: api.Role.ROLE_ADMIN,
};

const STORED_ROLES: Readonly<Record<number, Role | undefined>> = Object.fromEntries(
  Object.entries(ROLES).map(([stored, role]) => [role, stored as Role]),
);

const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

/** A key on the wire, without its texts. */
const KEY_BYTES = 100;
