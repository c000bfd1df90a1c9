import { randomUUID } from "node:crypto";
import { pathToFileURL } from "node:url";
import { CONTENT } from "../data/records.js";
import { type Loaded, type LoopOptions, loop } from "./loop.js";
import { serve } from "./serve.js";

/** `@mastra/mongodb`, in a process of its own. It is not installed where this is compiled: these are the parts in use. */

interface MemoryStorage {
  init(): Promise<void>;
  saveThread(input: { thread: Thread }): Promise<unknown>;
  saveMessages(input: { messages: Message[] }): Promise<unknown>;
  listMessages(input: {
    threadId: string;
    perPage: number;
    page: number;
    orderBy: { field: "createdAt"; direction: "DESC" };
  }): Promise<{ messages: unknown[] }>;
  listThreads(input: { filter: { resourceId: string }; perPage: number; page: number }): Promise<{
    threads: unknown[];
  }>;
}

interface Thread {
  readonly id: string;
  readonly resourceId: string;
  readonly title: string;
  readonly metadata: Readonly<Record<string, string>>;
  readonly createdAt: Date;
  readonly updatedAt: Date;
}

interface Message {
  readonly id: string;
  readonly threadId: string;
  readonly resourceId: string;
  readonly role: "user" | "assistant";
  readonly createdAt: Date;
  readonly content: { format: 2; parts: { type: "text"; text: string }[] };
}

interface Module {
  readonly MemoryStorageMongoDB: new (config: { id: string; uri: string; dbName: string }) => MemoryStorage;
}

export interface MastraSeed {
  readonly threads: number;
  readonly resources: number;
  /** In each of the first threads. */
  readonly messages: number;
  readonly threadsWithMessages: number;
}

let storage: MemoryStorage | undefined;
let seeded: MastraSeed | undefined;
let position = 0;

const resourceOf = (thread: number, { resources }: MastraSeed): string => `user-${thread % resources}`;

const handlers = {
  async open(folder: string, uri: string, database: string): Promise<void> {
    const { MemoryStorageMongoDB } = (await import(pathToFileURL(`${folder}/mastra.mjs`).href)) as Module;
    storage = new MemoryStorageMongoDB({ id: "bench", uri, dbName: database });
    await storage.init();
  },

  async seed(seed: MastraSeed): Promise<void> {
    const memory = opened();
    seeded = seed;
    const now = Date.now();
    for (let thread = 0; thread < seed.threads; thread++) {
      const time = new Date(now + thread);
      await memory.saveThread({
        thread: {
          id: `thread-${thread}`,
          resourceId: resourceOf(thread, seed),
          title: "",
          metadata: { topic: "travel", language: "en", channel: "web" },
          createdAt: time,
          updatedAt: time,
        },
      });
    }
    for (let thread = 0; thread < seed.threadsWithMessages; thread++) {
      const messages = Array.from({ length: seed.messages }, (_, index) =>
        message(thread, seed, new Date(now + index)),
      );
      await memory.saveMessages({ messages });
    }
  },

  add: (options: LoopOptions): Promise<Loaded> => {
    const [memory, seed] = [opened(), data()];
    return loop(
      () => memory.saveMessages({ messages: [message(position++ % seed.threads, seed, new Date())] }),
      options,
    );
  },

  read: (perPage: number, options: LoopOptions): Promise<Loaded> => {
    const [memory, seed] = [opened(), data()];
    return loop(() => readNewest(memory, position++ % seed.threadsWithMessages, perPage), options);
  },

  turn: (perPage: number, options: LoopOptions): Promise<Loaded> => {
    const [memory, seed] = [opened(), data()];
    return loop(async () => {
      const thread = position++ % seed.threadsWithMessages;
      await readNewest(memory, thread, perPage);
      const now = Date.now();
      const question = message(thread, seed, new Date(now));
      const answer = message(thread, seed, new Date(now + 1), "assistant");
      await memory.saveMessages({ messages: [question, answer] });
    }, options);
  },

  list: (perPage: number, options: LoopOptions): Promise<Loaded> => {
    const [memory, seed] = [opened(), data()];
    return loop(async () => {
      const resourceId = resourceOf(position++, seed);
      const { threads } = await memory.listThreads({ filter: { resourceId }, perPage, page: 0 });
      if (threads.length !== perPage) throw new Error(`${threads.length} threads`);
    }, options);
  },
};

async function readNewest(memory: MemoryStorage, thread: number, perPage: number): Promise<void> {
  const orderBy = { field: "createdAt", direction: "DESC" } as const;
  const { messages } = await memory.listMessages({ threadId: `thread-${thread}`, perPage, page: 0, orderBy });
  if (messages.length !== perPage) throw new Error(`${messages.length} messages`);
}

function message(thread: number, seed: MastraSeed, createdAt: Date, role: Message["role"] = "user"): Message {
  return {
    id: randomUUID(),
    threadId: `thread-${thread}`,
    resourceId: resourceOf(thread, seed),
    role,
    createdAt,
    content: { format: 2, parts: [{ type: "text", text: CONTENT }] },
  };
}

function data(): MastraSeed {
  if (seeded === undefined) throw new Error("not seeded");
  return seeded;
}

function opened(): MemoryStorage {
  if (storage === undefined) throw new Error("not opened");
  return storage;
}

export type Mastra = typeof handlers;

serve(handlers);
