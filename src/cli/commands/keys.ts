import { type Command, Option } from "commander";
import type { Role } from "../../client/index.js";
import type { Context } from "../context.js";
import { jsonLine, jsonOfKey } from "../json.js";
import { keysTable, printable } from "../tables.js";
import { timeAhead } from "../values.js";

const ROLES: readonly Role[] = ["reader", "writer", "admin"];

interface Common {
  project?: string;
  json?: boolean;
}

interface CreateOptions extends Common {
  name: string;
  role: Role;
  user?: string;
  expires?: Date;
}

export function addKeys(program: Command, context: Context): void {
  const keys = program.command("keys").description("look after the API keys of a project, as an admin of it");
  const project = () =>
    new Option("--project <name>", "another project than one's own; for admins of the project default");

  keys
    .command("create")
    .description("make a key; its secret goes to the standard output, this once")
    .requiredOption("--name <text>", "what the key is for")
    .addOption(new Option("--role <role>", "what it may do").choices(ROLES).makeOptionMandatory())
    .option("--user <id>", "the one user whose sessions it reaches")
    .option("--expires <when>", "a time such as 2030-01-31T12:00:00Z, or how long from now, such as 90d", timeAhead)
    .addOption(project())
    .option("--json", "the key with its secret as one JSON object")
    .action((options: CreateOptions) => createKey(context, options));

  keys
    .command("list")
    .description("list the keys, without their secrets")
    .addOption(project())
    .option("--json", "one JSON object a line")
    .action((options: Common) => listKeys(context, options));

  keys
    .command("revoke")
    .description("make a key worthless for ever, everywhere within 10 seconds")
    .argument("<key-id>")
    .addOption(project())
    .option("--json", "the revoked key as one JSON object")
    .action((keyId: string, options: Common) => revokeKey(context, keyId, options));
}

async function createKey(context: Context, options: CreateOptions): Promise<void> {
  const { name, role, user, expires, project, json } = options;
  const request = { name, role, userId: user, expireTime: expires, project };
  const { key, secret } = await context.connect().createKey(request, { signal: context.signal });
  if (json) return context.print(jsonLine({ ...jsonOfKey(key), secret }));
  // Apart from the secret, which may go into a file.
  context.stderr.write(
    `Created key ${key.keyId} of project ${printable(key.project)}. Its secret is shown this once:\n`,
  );
  await context.print(`${secret}\n`);
}

async function listKeys(context: Context, { project, json }: Common): Promise<void> {
  const listing = context.connect().listKeys({ project, chunkSize: 1000 }, { signal: context.signal });
  for await (const { items } of listing.chunks()) {
    await context.print(json ? items.map((key) => jsonLine(jsonOfKey(key))).join("") : keysTable(items));
  }
}

async function revokeKey(context: Context, keyId: string, { project, json }: Common): Promise<void> {
  const key = await context.connect().revokeKey({ keyId, project }, { signal: context.signal });
  await context.print(json ? jsonLine(jsonOfKey(key)) : `Revoked ${key.keyId}, ${printable(key.name)}.\n`);
}
