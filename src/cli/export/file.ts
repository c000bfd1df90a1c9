import { once } from "node:events";
import { type FileHandle, open, readFile, rename, rm, writeFile } from "node:fs/promises";
import { createGzip, type Gzip } from "node:zlib";
import { UsageError } from "../exit-codes.js";

/** Where an export goes. */
export interface ExportTarget {
  /** Where an earlier one was broken off, or the beginning. */
  readonly from: ExportState;
  write(text: string): Promise<void>;
  /** What was written is safe now: an export that is broken off after this goes on from this state. */
  checkpoint(state: ExportState): Promise<void>;
  /** All of it is there. */
  finish(): Promise<void>;
  close(): Promise<void>;
}

/** What is exported. */
export interface ExportScope {
  readonly user?: string | undefined;
  readonly deleted?: boolean | undefined;
}

/** How far an export has come. */
export interface ExportState {
  readonly phase: "users" | "sessions" | "unsettled";
  /** The cursor of the page that is under way. */
  readonly cursor: string;
  /** The ids of those of the page that are done. */
  readonly done: readonly string[];
  /** The ids of sessions that changed each time that they were read. */
  readonly unsettled: readonly string[];
  readonly users: number;
  readonly sessions: number;
  readonly deletedSessions: number;
  readonly messages: number;
}

export const BEGINNING: ExportState = {
  phase: "users",
  cursor: "",
  done: [],
  unsettled: [],
  users: 0,
  sessions: 0,
  deletedSessions: 0,
  messages: 0,
};

interface Saved {
  readonly scope: ExportScope;
  /** How much of the file is whole. */
  readonly bytes: number;
  readonly state: ExportState;
}

/**
 * A file that bears its name only when it is whole. Until then it is FILE.part, and FILE.part.state says how much of it counts and what
 * comes next; what was written since then is cut off.
 */
export async function openFile(file: string, scope: ExportScope): Promise<ExportTarget> {
  const part = `${file}.part`;
  const stateFile = `${part}.state`;
  const saved = await readState(stateFile);
  const handle = await openPart(part, saved !== undefined);
  try {
    const known = saved && (await handle.stat()).size >= saved.bytes ? saved : undefined;
    if (known && JSON.stringify(known.scope) !== JSON.stringify(scope)) {
      throw new UsageError(`${part} was begun with other options: give the same ones, or remove it to begin anew`);
    }
    const start = known?.bytes ?? 0;
    await handle.truncate(start);
    const sink = file.endsWith(".gz") ? createZippedSink(handle, start) : createSink(handle, start);
    return {
      from: known?.state ?? BEGINNING,
      write: sink.write,
      async checkpoint(state) {
        const bytes = await sink.flush();
        await handle.datasync();
        await replace(stateFile, JSON.stringify({ scope, bytes, state } satisfies Saved));
      },
      async finish() {
        await sink.flush();
        await handle.sync();
        await rename(part, file);
        await rm(stateFile, { force: true });
      },
      close: () => handle.close(),
    };
  } catch (error) {
    await handle.close();
    throw error;
  }
}

async function openPart(part: string, isThere: boolean): Promise<FileHandle> {
  try {
    return await open(part, isThere ? "r+" : "w");
  } catch (error) {
    if (isThere && isMissing(error)) return open(part, "w");
    throw error;
  }
}

async function readState(file: string): Promise<Saved | undefined> {
  try {
    return JSON.parse(await readFile(file, "utf8")) as Saved;
  } catch (error) {
    if (isMissing(error)) return undefined;
    throw error;
  }
}

async function replace(file: string, text: string): Promise<void> {
  await writeFile(`${file}.new`, text, { flush: true });
  await rename(`${file}.new`, file);
}

const isMissing = (error: unknown): boolean => (error as NodeJS.ErrnoException).code === "ENOENT";

interface Sink {
  write(text: string): Promise<void>;
  /** Hands all to the file. The answer is where that ends. */
  flush(): Promise<number>;
}

const BUFFER_CHARACTERS = 256 * 1024;

function createSink(handle: FileHandle, start: number): Sink {
  let position = start;
  let buffered: string[] = [];
  let characters = 0;
  const flush = async (): Promise<number> => {
    const bytes = Buffer.from(buffered.join(""));
    buffered = [];
    characters = 0;
    await writeAll(handle, bytes, position);
    position += bytes.length;
    return position;
  };
  return {
    async write(text) {
      buffered.push(text);
      characters += text.length;
      if (characters > BUFFER_CHARACTERS) await flush();
    },
    flush,
  };
}

/** Each flush ends a member: members one behind the other are a gzip file, too, and one can be cut off. */
function createZippedSink(handle: FileHandle, start: number): Sink {
  let position = start;
  let zipped: Buffer[] = [];
  let gzip: Gzip | undefined;

  const begin = (): Gzip => createGzip().on("data", (chunk: Buffer) => zipped.push(chunk));
  const store = async (): Promise<void> => {
    const bytes = Buffer.concat(zipped);
    zipped = [];
    await writeAll(handle, bytes, position);
    position += bytes.length;
  };
  return {
    async write(text) {
      gzip ??= begin();
      if (!gzip.write(text)) await once(gzip, "drain");
      await store();
    },
    async flush() {
      // Nothing zipped is not an empty file.
      if (position === 0) gzip ??= begin();
      if (gzip) {
        gzip.end();
        await once(gzip, "end");
        gzip = undefined;
      }
      await store();
      return position;
    },
  };
}

async function writeAll(handle: FileHandle, bytes: Buffer, position: number): Promise<void> {
  for (let at = 0; at < bytes.length; ) {
    const { bytesWritten } = await handle.write(bytes, at, bytes.length - at, position + at);
    at += bytesWritten;
  }
}
