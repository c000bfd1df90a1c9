import { readFileSync } from "node:fs";
import type { EndpointSettings } from "../embeddings/endpoint.js";
import { isLoopback } from "./auth.js";

/** Reads one variable; undefined, and noted, when it is a mistake. */
type Read = <T>(name: string, fallback: string, parse: (text: string) => T) => T;

const URL_VARIABLE = "SESSIONS_EMBEDDINGS_URL";
const MODEL = "SESSIONS_EMBEDDINGS_MODEL";
const DIMENSIONS = "SESSIONS_EMBEDDINGS_DIMENSIONS";
const KEY_FILE = "SESSIONS_EMBEDDINGS_KEY_FILE";

const REQUIRED = [URL_VARIABLE, MODEL, DIMENSIONS] as const;

/** What turns texts into vectors; undefined when nothing does. */
export function readEmbeddings(
  env: Readonly<Record<string, string | undefined>>,
  read: Read,
  mistakes: string[],
): EndpointSettings | undefined {
  const isSet = (name: string): boolean => (env[name] ?? "") !== "";
  const set = [...REQUIRED, KEY_FILE].filter(isSet);
  if (set.length === 0) return undefined;
  for (const name of REQUIRED) if (!isSet(name)) mistakes.push(`${name}: required with ${set.join(" and ")}.`);

  const url = isSet(URL_VARIABLE) ? read(URL_VARIABLE, "", baseUrl) : undefined;
  const model = isSet(MODEL) ? read(MODEL, "", modelName) : undefined;
  const dimensions = isSet(DIMENSIONS) ? read(DIMENSIONS, "", dimensionsIn) : undefined;
  const key = isSet(KEY_FILE) ? read(KEY_FILE, "", keyIn) : undefined;
  if (url && key && new URL(url).protocol !== "https:" && !isLoopback(new URL(url).hostname)) {
    mistakes.push(`${KEY_FILE}: a key goes without TLS to this machine only, and ${URL_VARIABLE} is not https://.`);
  }
  return url && model && dimensions ? { url, model, dimensions, key } : undefined;
}

/** As the clients of OpenAI take it: what the path of the method is added to. */
function baseUrl(text: string): string {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url?.protocol !== "https:" && url?.protocol !== "http:") throw new Error("an http:// or https:// URL.");
  if (url.username || url.password) throw new Error("a URL without a user and a password.");
  if (url.search || url.hash) throw new Error("a URL without a query and a fragment.");
  const base = text.replace(/\/+$/, "");
  if (base.endsWith("/embeddings")) throw new Error("the base, such as https://host/v1: /embeddings is added to it.");
  return base;
}

const MAX_MODEL_NAME = 200;

function modelName(text: string): string {
  if (text.trim() === "" || text.length > MAX_MODEL_NAME) throw new Error(`1 to ${MAX_MODEL_NAME} characters.`);
  return text;
}

const MAX_DIMENSIONS = 8_192;

function dimensionsIn(text: string): number {
  const value = /^\d{1,4}$/.test(text) ? Number(text) : Number.NaN;
  if (!(value >= 1 && value <= MAX_DIMENSIONS)) throw new Error(`a whole number from 1 to ${MAX_DIMENSIONS}.`);
  return value;
}

function keyIn(path: string): string {
  let text: string;
  try {
    text = readFileSync(path, "utf8").replace(/\r?\n$/, "");
  } catch (error) {
    throw new Error(`cannot be read: ${(error as NodeJS.ErrnoException).code}.`);
  }
  // It has to go through a header.
  if (!/^[\x21-\x7e]+$/.test(text)) throw new Error("holds something else than one line of printable ASCII.");
  return text;
}
