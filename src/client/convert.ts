import type { Timestamp } from "../../gen/google/protobuf/timestamp.js";
import type { Key as WireKey } from "../../gen/sessions/v1/key_service.js";
import type * as wire from "../../gen/sessions/v1/resources.js";
import { SessionsClientError } from "./error.js";
import type { ErasureReceipt, Key, Message, Session, Summary, User } from "./resources.js";
import { dateOf, millisecondsOf, roleOf, roleTypeOf } from "./wire.js";

/** Resources as they come off the wire, as plain objects. */

export function toSession(session: wire.Session | undefined): Session {
  const { createTime, updateTime, lastMessageTime, deleteTime, purgeTime, expiry, expiresAt, metadata, ...rest } =
    present(session);
  return {
    ...rest,
    metadata: metadata ?? {},
    createTime: requiredDate(createTime),
    updateTime: requiredDate(updateTime),
    lastMessageTime: optionalDate(lastMessageTime),
    deleteTime: optionalDate(deleteTime),
    purgeTime: optionalDate(purgeTime),
    expireTime: expiry?.$case === "expireTime" ? dateOf(expiry.value) : undefined,
    idleTtlMs: expiry?.$case === "idleTtl" ? millisecondsOf(expiry.value) : undefined,
    expiresAt: optionalDate(expiresAt),
  };
}

export function toMessage(message: wire.Message | undefined): Message {
  const { createTime, updateTime, roleType, payload, payloadType, metadata, ...rest } = present(message);
  return {
    ...rest,
    roleType: roleTypeOf(roleType),
    // A copy: what the decoder gives is a part of the whole answer, and would keep all of it in memory.
    payload: payload.length > 0 ? new Uint8Array(payload) : undefined,
    payloadType: payloadType || undefined,
    metadata: metadata ?? {},
    createTime: requiredDate(createTime),
    updateTime: requiredDate(updateTime),
  };
}

export function toSummary(summary: wire.Summary | undefined): Summary {
  const { createTime, metadata, ...rest } = present(summary);
  return { ...rest, metadata: metadata ?? {}, createTime: requiredDate(createTime) };
}

export function toUser(user: wire.User | undefined): User {
  const { createTime, updateTime, deleteTime, purgeTime, metadata, ...rest } = present(user);
  return {
    ...rest,
    metadata: metadata ?? {},
    createTime: requiredDate(createTime),
    updateTime: requiredDate(updateTime),
    deleteTime: optionalDate(deleteTime),
    purgeTime: optionalDate(purgeTime),
  };
}

export function toKey(key: WireKey | undefined): Key {
  const { role, createTime, expireTime, revokeTime, ...rest } = present(key);
  return {
    ...rest,
    role: roleOf(role),
    createTime: requiredDate(createTime),
    expireTime: optionalDate(expireTime),
    revokeTime: optionalDate(revokeTime),
  };
}

export function toErasureReceipt(receipt: wire.ErasureReceipt | undefined): ErasureReceipt {
  const { beginTime, endTime, ...rest } = present(receipt);
  return { ...rest, beginTime: requiredDate(beginTime), endTime: requiredDate(endTime) };
}

export const requiredDate = (timestamp: Timestamp | undefined): Date => dateOf(present(timestamp));

const optionalDate = (timestamp: Timestamp | undefined): Date | undefined => timestamp && dateOf(timestamp);

function present<T>(value: T | undefined): T {
  if (value !== undefined) return value;
  throw new SessionsClientError("INTERNAL", "The service's answer lacks a part that it always has.");
}
