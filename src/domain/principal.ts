import { DEFAULT_PROJECT } from "./keys.js";

/** Whoever calls, as their credential says. */
export interface Principal {
  /** The project whose data they may touch. */
  readonly project: string;
  readonly role: Role;
  /** The id of the user whom they are bound to: they reach what is this user's, and nothing else. Never an admin's. */
  readonly user?: string;
  /** The id of the API key that they showed, for the log. */
  readonly keyId?: string;
  /** What names the token that they showed, and no person. */
  readonly token?: string;
}

/** In the order of what they may: each one all that those before it may. */
export const ROLES = ["reader", "writer", "admin"] as const;
export type Role = (typeof ROLES)[number];

/** Where no credentials are asked for. */
export const ANYBODY: Principal = { project: DEFAULT_PROJECT, role: "admin" };

export function includes(role: Role, needed: Role): boolean {
  return ROLES.indexOf(role) >= ROLES.indexOf(needed);
}

/** What keys can carry, logs can show and nobody has to escape: above all it has no slash, see keys.ts. */
export function isProject(name: string): boolean {
  return /^[A-Za-z0-9._-]{1,64}$/.test(name);
}

export const PROJECT_RULE = '1 to 64 ASCII letters, digits, ".", "_" or "-"';
