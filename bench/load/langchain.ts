import { pathToFileURL } from "node:url";
import { CONTENT } from "../data/records.js";
import { type Loaded, type LoopOptions, loop } from "./loop.js";
import { serve } from "./serve.js";

/** `@langchain/mongodb`, in a process of its own. It is not installed where this is compiled: these are the parts in use. */

interface History {
  addMessage(message: unknown): Promise<void>;
  addMessages(messages: unknown[]): Promise<void>;
  getMessages(): Promise<unknown[]>;
}

interface Collection {
  createIndex(keys: Record<string, 1>, options: { unique: boolean }): Promise<unknown>;
  insertMany(documents: unknown[]): Promise<unknown>;
  updateMany(filter: object, update: object): Promise<unknown>;
}

interface Client {
  connect(): Promise<Client>;
  db(name: string): { collection(name: string): Collection };
}

interface Module {
  readonly MongoClient: new (uri: string) => Client;
  readonly MongoDBChatMessageHistory: new (options: { collection: Collection; sessionId: string }) => History;
  readonly HumanMessage: new (content: string) => unknown;
  readonly AIMessage: new (content: string) => unknown;
  readonly mapChatMessagesToStoredMessages: (messages: unknown[]) => unknown[];
}

interface Opened {
  readonly peer: Module;
  readonly collection: Collection;
}

let opened: Opened | undefined;
let histories: History[] = [];
let position = 0;

const next = (): History => histories[position++ % histories.length] as History;

const handlers = {
  async open(folder: string, uri: string, database: string): Promise<void> {
    const peer = (await import(pathToFileURL(`${folder}/langchain.mjs`).href)) as Module;
    const client = await new peer.MongoClient(uri).connect();
    const collection = client.db(database).collection("history");
    // It makes no index itself; without one its reads would be scans, which nobody would leave so.
    await collection.createIndex({ sessionId: 1 }, { unique: true });
    opened = { peer, collection };
  },

  /** What follows is done with these. */
  async seed(prefix: string, sessions: number, messages: number): Promise<void> {
    const { peer, collection } = ready();
    const stored = peer.mapChatMessagesToStoredMessages(
      Array.from({ length: messages }, () => new peer.HumanMessage(CONTENT)),
    );
    const ids = Array.from({ length: sessions }, (_, index) => `${prefix}-${index}`);
    await collection.insertMany(ids.map((sessionId) => ({ sessionId, messages: stored })));
    histories = ids.map((sessionId) => new peer.MongoDBChatMessageHistory({ collection, sessionId }));
  },

  /** Takes away what was added after the first messages: a history is read as a whole, so a longer one would be slower. */
  async cut(messages: number): Promise<void> {
    await ready().collection.updateMany({}, { $push: { messages: { $each: [], $slice: messages } } });
  },

  add: (options: LoopOptions): Promise<Loaded> => {
    const { HumanMessage } = ready().peer;
    return loop(() => next().addMessage(new HumanMessage(CONTENT)), options);
  },

  read: (atLeast: number, options: LoopOptions): Promise<Loaded> => loop(() => readAll(next(), atLeast), options),

  turn: (atLeast: number, options: LoopOptions): Promise<Loaded> => {
    const { HumanMessage, AIMessage } = ready().peer;
    return loop(async () => {
      const history = next();
      await readAll(history, atLeast);
      await history.addMessages([new HumanMessage(CONTENT), new AIMessage(CONTENT)]);
    }, options);
  },
};

async function readAll(history: History, atLeast: number): Promise<void> {
  const messages = await history.getMessages();
  if (messages.length < atLeast) throw new Error(`${messages.length} messages`);
}

function ready(): Opened {
  if (opened === undefined) throw new Error("not opened");
  return opened;
}

export type Langchain = typeof handlers;

serve(handlers);
