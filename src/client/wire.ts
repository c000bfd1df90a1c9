import type { Duration } from "../../gen/google/protobuf/duration.js";
import type { Timestamp } from "../../gen/google/protobuf/timestamp.js";
import { Role as WireRole } from "../../gen/sessions/v1/key_service.js";
import { SearchMode as WireSearchMode, WindowStart as WireWindowStart } from "../../gen/sessions/v1/memory_service.js";
import { MetadataMode as WireMode, RoleType as WireRoleType } from "../../gen/sessions/v1/resources.js";
import { SessionOrder as WireOrder } from "../../gen/sessions/v1/session_service.js";
import { invalidArgument } from "./error.js";
import type { Expiry, MetadataMode, SearchMode, SessionOrder, WindowStart } from "./requests.js";
import type { Role, RoleType } from "./resources.js";

/** Times and enums between their wire form and JavaScript's. */

const ROLE_TYPES: Readonly<Record<RoleType, WireRoleType>> = {
  system: WireRoleType.ROLE_TYPE_SYSTEM,
  assistant: WireRoleType.ROLE_TYPE_ASSISTANT,
  user: WireRoleType.ROLE_TYPE_USER,
  function: WireRoleType.ROLE_TYPE_FUNCTION,
  tool: WireRoleType.ROLE_TYPE_TOOL,
};

const MODES: Readonly<Record<MetadataMode, WireMode>> = {
  merge: WireMode.METADATA_MODE_MERGE,
  "merge-patch": WireMode.METADATA_MODE_MERGE_PATCH,
  replace: WireMode.METADATA_MODE_REPLACE,
};

const ORDERS: Readonly<Record<SessionOrder, WireOrder>> = {
  createTime: WireOrder.SESSION_ORDER_CREATE_TIME,
  updateTime: WireOrder.SESSION_ORDER_UPDATE_TIME,
  lastMessageTime: WireOrder.SESSION_ORDER_LAST_MESSAGE_TIME,
};

const SEARCH_MODES: Readonly<Record<SearchMode, WireSearchMode>> = {
  lexical: WireSearchMode.SEARCH_MODE_LEXICAL,
  semantic: WireSearchMode.SEARCH_MODE_SEMANTIC,
  hybrid: WireSearchMode.SEARCH_MODE_HYBRID,
};

const WINDOW_STARTS: Readonly<Record<WindowStart, WireWindowStart>> = {
  any: WireWindowStart.WINDOW_START_ANY,
  "whole-tool-calls": WireWindowStart.WINDOW_START_WHOLE_TOOL_CALLS,
  user: WireWindowStart.WINDOW_START_USER,
};

const ROLES: Readonly<Record<Role, WireRole>> = {
  reader: WireRole.ROLE_READER,
  writer: WireRole.ROLE_WRITER,
  admin: WireRole.ROLE_ADMIN,
};

const ROLE_TYPE_NAMES = new Map(Object.entries(ROLE_TYPES).map(([name, value]) => [value, name as RoleType]));
const SEARCH_MODE_NAMES = new Map(Object.entries(SEARCH_MODES).map(([name, value]) => [value, name as SearchMode]));
const ROLE_NAMES = new Map(Object.entries(ROLES).map(([name, value]) => [value, name as Role]));

export const wireRoleType = (roleType: RoleType | undefined, field: string) => oneOf(field, ROLE_TYPES, roleType);
export const wireRole = (role: Role | undefined) => oneOf("role", ROLES, role);
export const wireMode = (mode: MetadataMode | undefined) => oneOf("metadata_mode", MODES, mode);
export const wireSearchMode = (mode: SearchMode | undefined) => oneOf("mode", SEARCH_MODES, mode);
export const wireWindowStart = (start: WindowStart | undefined) => oneOf("window_start", WINDOW_STARTS, start);
export const wireOrder = (order: SessionOrder | undefined) => oneOf("order", ORDERS, order);

/** Undefined when it is unset, or one that a later service has. */
export const roleTypeOf = (wire: WireRoleType): RoleType | undefined => ROLE_TYPE_NAMES.get(wire);
export const searchModeOf = (wire: WireSearchMode): SearchMode | undefined => SEARCH_MODE_NAMES.get(wire);
export const roleOf = (wire: WireRole): Role | undefined => ROLE_NAMES.get(wire);

/** Callers in plain JavaScript can send anything; a mistake must not become the default. */
function oneOf<Name extends string, Value>(
  field: string,
  values: Readonly<Record<Name, Value>>,
  name: Name | undefined,
): Value | undefined {
  if (name === undefined) return undefined;
  if (!Object.hasOwn(values, name)) throw invalidArgument(field, `One of ${Object.keys(values).join(", ")}.`);
  return values[name];
}

export function wireTime(field: string, date: Date | undefined): Timestamp | undefined {
  if (date === undefined) return undefined;
  const ms = date.getTime();
  if (Number.isNaN(ms)) throw invalidArgument(field, "Not a valid date.");
  const seconds = Math.floor(ms / 1000);
  return { seconds, nanos: (ms - seconds * 1000) * 1_000_000 };
}

export function dateOf(timestamp: Timestamp): Date {
  return new Date(timestamp.seconds * 1000 + Math.floor(timestamp.nanos / 1_000_000));
}

/** What requests have of an expiry. */
export function wireExpiry({ expireTime, idleTtlMs }: Expiry) {
  if (expireTime !== undefined && idleTtlMs !== undefined)
    throw invalidArgument("expire_time", "Comes with an idle time to live: send one of them, or neither.");
  const time = wireTime("expire_time", expireTime);
  if (time) return { $case: "expireTime" as const, value: time };
  const ttl = wireDuration("idle_ttl", idleTtlMs);
  return ttl && { $case: "idleTtl" as const, value: ttl };
}

export function wireDuration(field: string, ms: number | undefined): Duration | undefined {
  if (ms === undefined) return undefined;
  if (!Number.isFinite(ms)) throw invalidArgument(field, "A finite number of milliseconds.");
  const seconds = Math.trunc(ms / 1000);
  return { seconds, nanos: Math.round((ms - seconds * 1000) * 1_000_000) };
}

export function millisecondsOf({ seconds, nanos }: Duration): number {
  return seconds * 1000 + nanos / 1_000_000;
}
