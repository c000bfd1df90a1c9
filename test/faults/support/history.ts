import { mkdir, mkdtemp, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** What clients do to a shared session: `get` and `search` read all of it. `undelete` leaves its memory deleted, `restore` brings it back. */
export type Operation = "add" | "get" | "search" | "delete" | "undelete" | "restore" | "clear";

/**
 * One line of a history, in the form of Jepsen's. An operation begins with `invoke` and ends with `ok`, with `fail` when its answer
 * says that it changed nothing and why, or with `info` when nobody knows: then it may take effect at any later time, or
 * never, and its process is not heard of again. Without an end it counts as `info`.
 */
export interface HistoryEvent {
  readonly process: number;
  readonly type: "invoke" | "ok" | "fail" | "info";
  readonly f: Operation;
  /** The session. */
  readonly key: string;
  /** The message ids of an `add`, what a `get` or a `search` saw, null for the rest. */
  readonly value: readonly string[] | Seen | null;
  /** The reason of the answer, when it is an error. */
  readonly error?: string;
  /** Microseconds since the history began. The order of the lines is the order of the events. */
  readonly time: number;
}

/** What one read saw of a session. A missing or deleted one is not live and has nothing. */
export interface Seen {
  readonly ids: readonly string[];
  /** undefined: a search does not tell. */
  readonly live?: boolean;
  /** The session's own count of its messages. undefined: a search does not tell. */
  readonly count?: number;
}

export type Ending = Pick<HistoryEvent, "type" | "value" | "error"> & { readonly type: "ok" | "fail" | "info" };

export interface History {
  readonly events: readonly HistoryEvent[];
  /** A process that has not been heard of. */
  newProcess(): number;
  /** Notes that an operation begins. The function that it returns notes how it ended. */
  invoke(process: number, key: string, f: Operation, value: readonly string[] | null): (ending: Ending) => void;
  /** Writes it as JSON lines, for any other checker. The answer is the file's path. */
  save(name: string): Promise<string>;
}

export function createHistory(): History {
  const began = performance.now();
  const events: HistoryEvent[] = [];
  let processes = 0;
  const note = (event: Omit<HistoryEvent, "time">): void => {
    events.push({ ...event, time: Math.round((performance.now() - began) * 1000) });
  };
  return {
    events,
    newProcess: () => processes++,
    invoke(process, key, f, value) {
      note({ process, type: "invoke", f, key, value });
      return (ending) => note({ process, f, key, ...ending });
    },
    async save(name) {
      const folder = process.env.FAULTS_HISTORY_DIR ?? (await mkdtemp(join(tmpdir(), "sessions-history-")));
      await mkdir(folder, { recursive: true });
      const file = join(folder, `${name}.jsonl`);
      await writeFile(file, events.map((event) => `${JSON.stringify(event)}\n`).join(""));
      return file;
    },
  };
}
