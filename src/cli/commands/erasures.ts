import type { Command } from "commander";
import type { Context } from "../context.js";
import { jsonLine, jsonOfErasureReceipt } from "../json.js";
import { erasuresTable } from "../tables.js";

export function addErasures(program: Command, context: Context): void {
  program
    .command("erasures")
    .description("list the receipts of users who were erased, the oldest first, as an admin")
    .option("--json", "one JSON object a line")
    .action(async ({ json }: { json?: boolean }) => {
      const listing = context.connect().listErasures({ chunkSize: 1000 }, { signal: context.signal });
      for await (const { items } of listing.chunks()) {
        const lines = json
          ? items.map((receipt) => jsonLine(jsonOfErasureReceipt(receipt))).join("")
          : erasuresTable(items);
        await context.print(lines);
      }
    });
}
