import { parseArgs } from "node:util";
import { conversationsBeside } from "./data/questions.js";

export interface Options {
  readonly quick: boolean;
  readonly json: boolean;
  /** The names of the rows to measure; undefined for all. */
  readonly rows: readonly string[] | undefined;
  /** How many processes the service has, when not its default. */
  readonly workers: number | undefined;
  /** Where the service's CPU profiles go; undefined for none. */
  readonly profile: string | undefined;
  /** The conversations that are searched, see readQuestioned; undefined for none. */
  readonly questions: string | undefined;
  readonly scale: Scale;
}

/** How much is measured, over how much data. */
export interface Scale {
  readonly rounds: number;
  /** How long each side of a round takes, where a row does not say otherwise. */
  readonly roundMs: number;
  readonly warmMs: number;
  /** Sessions that are read and added to in turns. */
  readonly conversations: number;
  /** Sessions of the listings. */
  readonly sessions: number;
  /** Where the deep page of a listing begins. */
  readonly deepPosition: number;
  /** Messages of the session that is large. */
  readonly messages: number;
  /** Messages of a user in all of whose sessions is searched. */
  readonly scopeMessages: number;
  /** How long the slow reader stops. */
  readonly stopMs: number;
  /** The size of the cache that is filled. */
  readonly cacheMib: number;
}

const FULL: Scale = {
  rounds: 5,
  roundMs: 3_000,
  warmMs: 1_500,
  conversations: 1_000,
  sessions: 200_000,
  deepPosition: 190_000,
  messages: 100_000,
  scopeMessages: 10_000,
  stopMs: 10_000,
  cacheMib: 64,
};

/** Proves that every row still works; its figures mean nothing. */
const QUICK: Scale = {
  rounds: 2,
  roundMs: 250,
  warmMs: 100,
  conversations: 100,
  sessions: 4_000,
  deepPosition: 3_800,
  messages: 2_000,
  scopeMessages: 1_000,
  stopMs: 500,
  cacheMib: 4,
};

export const USAGE = `npm run bench -- [options]
  --quick       small data, no thresholds, peers only where they are installed: only shows that every row works
  --json        one JSON object a row on stdout, in place of the table
  --rows a,b    only these rows
  --rounds n    how many interleaved rounds (5)
  --seconds s   how long each side of a round takes (3)
  --workers n   SESSIONS_WORKERS of the service, with a connection of the load generator for each and more
  --questions f conversations NAME.jsonl.gz, with NAME-questions.jsonl.gz beside them, to search in
                (../shared/data/locomo-dev.jsonl.gz)
  --profile dir a CPU profile of each process of the service goes there
SESSIONS_* and OTEL_* of the environment are handed on to the service.
`;

/** Throws an Error that tells the user what is wrong. */
export function readOptions(args: string[]): Options {
  const { values } = parseArgs({
    args,
    options: {
      quick: { type: "boolean", default: false },
      json: { type: "boolean", default: false },
      rows: { type: "string" },
      rounds: { type: "string" },
      seconds: { type: "string" },
      workers: { type: "string" },
      questions: { type: "string" },
      profile: { type: "string" },
    },
  });
  const base = values.quick ? QUICK : FULL;
  return {
    quick: values.quick,
    json: values.json,
    rows: values.rows?.split(",").filter((name) => name !== ""),
    workers: positive("workers", values.workers),
    profile: values.profile,
    questions: values.questions ?? conversationsBeside(),
    scale: {
      ...base,
      rounds: positive("rounds", values.rounds) ?? base.rounds,
      roundMs: (positive("seconds", values.seconds) ?? base.roundMs / 1_000) * 1_000,
    },
  };
}

function positive(name: string, text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  const value = Number(text);
  if (!(value > 0)) throw new Error(`--${name} ${text}: a number above 0.`);
  return value;
}
