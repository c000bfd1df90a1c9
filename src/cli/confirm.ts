import { createInterface } from "node:readline/promises";
import type { Context } from "./context.js";
import { UsageError } from "./exit-codes.js";

/** Asks before what cannot be undone. Without a terminal there is nobody to ask, so `--yes` is required. */
export async function confirm(context: Context, question: string, yes: boolean | undefined): Promise<boolean> {
  if (yes) return true;
  if (!context.stdin.isTTY || !context.stderr.isTTY) {
    throw new UsageError("this cannot be undone: without a terminal to ask on, confirm it with --yes");
  }
  const prompt = createInterface({ input: context.stdin, output: context.stderr });
  prompt.on("SIGINT", () => context.interrupt());
  // The end of the input is no.
  const ended = new Promise<string>((resolve) => prompt.once("close", () => resolve("")));
  try {
    const answer = await Promise.race([prompt.question(`${question} [y/N] `, { signal: context.signal }), ended]);
    return /^y(es)?$/i.test(answer.trim());
  } finally {
    prompt.close();
  }
}
