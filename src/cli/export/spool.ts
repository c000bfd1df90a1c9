import { mkdtemp, open, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { linesOf } from "../import/lines.js";

/** Where the messages of a large session wait until all are there: it can be larger than what fits into memory. */
export interface Spool {
  write(line: string): Promise<void>;
  clear(): Promise<void>;
  lines(): AsyncGenerator<string, void>;
  close(): Promise<void>;
}

const BUFFER_CHARACTERS = 1024 * 1024;

export async function openSpool(): Promise<Spool> {
  const folder = await mkdtemp(join(tmpdir(), "sessions-export-"));
  const file = join(folder, "messages.jsonl");
  // Nobody else's business.
  const handle = await open(file, "w+", 0o600);
  let buffered: string[] = [];
  let characters = 0;
  let position = 0;

  const flush = async (): Promise<void> => {
    const bytes = Buffer.from(buffered.join(""));
    buffered = [];
    characters = 0;
    await handle.write(bytes, 0, bytes.length, position);
    position += bytes.length;
  };
  return {
    async write(line) {
      buffered.push(line, "\n");
      characters += line.length + 1;
      if (characters > BUFFER_CHARACTERS) await flush();
    },
    async clear() {
      buffered = [];
      characters = 0;
      position = 0;
      await handle.truncate(0);
    },
    async *lines() {
      await flush();
      const stream = handle.createReadStream({ start: 0, autoClose: false });
      for await (const { bytes } of linesOf(stream)) if (bytes) yield bytes.toString();
    },
    async close() {
      await handle.close();
      await rm(folder, { recursive: true });
    },
  };
}
