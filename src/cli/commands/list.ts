import { type Command, Option } from "commander";
import type { JsonObject, SessionOrder } from "../../client/index.js";
import type { Context } from "../context.js";
import { jsonLine, jsonOfSession } from "../json.js";
import { sessionsTable } from "../tables.js";
import { jsonObject, MAX_INT32, timeAgo, wholeNumber } from "../values.js";

const ORDERS: Readonly<Record<string, SessionOrder>> = {
  created: "createTime",
  updated: "updateTime",
  "last-message": "lastMessageTime",
};

/** Rows that share their columns' widths; each block of them has a head of its own. */
const BLOCK = 1000;

const DETAILS = `
<when> is a time such as 2030-01-31T12:00:00Z, or how long ago, such as 90d. Sessions without memory have no last message.

Metadata contains the object of --metadata when it has each of its keys, nested, with an equal value, and where it has an
array each of the array's elements, in any order: '{"tags": ["b"]}' finds {"tags": ["a", "b"]}, '{"tags": "b"}' does not.
`;

interface Options {
  user?: string;
  metadata?: JsonObject;
  lastMessageAfter?: Date;
  lastMessageBefore?: Date;
  limit: number;
  order: keyof typeof ORDERS;
  descending?: boolean;
  deleted?: boolean;
  json?: boolean;
}

export function addList(program: Command, context: Context): void {
  program
    .command("list")
    .description("list sessions")
    .option("--user <id>", "only the sessions of this user")
    .option("--metadata <json>", "only sessions whose metadata contains this object", jsonObject)
    .option("--last-message-after <when>", "only sessions whose last message is newer than that", timeAgo)
    .option("--last-message-before <when>", "only sessions whose last message is older than that", timeAgo)
    .option("--limit <n>", "how many at most; 0: all", wholeNumber(0, MAX_INT32), 0)
    .addOption(new Option("--order <by>", "the order").choices(Object.keys(ORDERS)).default("created"))
    .option("--descending", "the newest first")
    .option("--deleted", "soft-deleted sessions too")
    .option("--json", "one JSON object a line")
    .addHelpText("after", DETAILS)
    .action(async (options: Options) => {
      const listing = context.connect().listSessions(
        {
          userId: options.user,
          metadata: options.metadata,
          lastMessageAfter: options.lastMessageAfter,
          lastMessageBefore: options.lastMessageBefore,
          limit: options.limit,
          chunkSize: BLOCK,
          order: ORDERS[options.order],
          descending: options.descending,
          showDeleted: options.deleted,
        },
        { signal: context.signal },
      );
      if (options.json) {
        for await (const session of listing) await context.print(jsonLine(jsonOfSession(session)));
        return;
      }
      for await (const block of inBlocks(listing, BLOCK)) {
        await context.print(sessionsTable(block, options.deleted === true));
      }
    });
}

async function* inBlocks<T>(items: AsyncIterable<T>, size: number): AsyncGenerator<T[], void> {
  let block: T[] = [];
  for await (const item of items) {
    block.push(item);
    if (block.length < size) continue;
    yield block;
    block = [];
  }
  if (block.length > 0) yield block;
}
