import { existsSync, readFileSync } from "node:fs";
import { resolve } from "node:path";
import { gunzipSync } from "node:zlib";
import type { JsonObject } from "../../src/client/index.js";

/** A line of a file that the command line imports. */
export interface Conversation {
  readonly session_id: string;
  readonly user_id?: string;
  readonly metadata?: JsonObject;
  readonly messages?: readonly ConversationMessage[];
}

export interface ConversationMessage {
  readonly message_id?: string;
  readonly role?: string;
  readonly role_type?: string;
  readonly content?: string;
  /** In base64. */
  readonly payload?: string;
  readonly payload_type?: string;
  readonly metadata?: JsonObject;
  readonly token_count?: number;
  readonly create_time?: string;
}

const checkout = (...path: string[]) => resolve(import.meta.dirname, "../..", ...path);

/** The project's own, which the README imports. */
export const SAMPLE = checkout("examples/conversations.jsonl");

/** All there are to test with: the sample, and larger files in a folder beside the checkout where there is one. */
export const conversationFiles = (): string[] => [
  SAMPLE,
  ...["dialogues.jsonl.gz", "locomo-dev.jsonl.gz"].map((name) => checkout("../shared/data", name)).filter(existsSync),
];

export function readConversations(file: string): Conversation[] {
  const bytes = readFileSync(file);
  return (file.endsWith(".gz") ? gunzipSync(bytes) : bytes)
    .toString()
    .split("\n")
    .filter(Boolean)
    .map((line) => JSON.parse(line) as Conversation);
}
