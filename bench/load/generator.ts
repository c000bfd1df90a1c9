import { countItems, frameReader } from "./frames.js";
import { type Connections, openConnections, type StreamCall } from "./http2.js";
import { type Loaded, type LoopOptions, loop } from "./loop.js";
import { serve } from "./serve.js";

/** The load generator, a process of its own: calls of one method with requests that are encoded already. */

interface Load {
  readonly path: string;
  readonly requests: readonly Uint8Array[];
}

export interface Listed {
  readonly items: number;
  readonly seconds: number;
  /** The stream's last message, which holds the last cursor. */
  readonly last: Uint8Array | undefined;
}

let connections: Connections | undefined;
const loads: Load[] = [];
/** Goes on where it stopped, so that a load's requests come in turn over all rounds. */
const positions: number[] = [];

interface Listing {
  readonly call: StreamCall;
  items: number;
  last: Uint8Array | undefined;
}
let paused: Listing | undefined;

function opened(): Connections {
  if (connections === undefined) throw new Error("not connected");
  return connections;
}

const handlers = {
  async connect(address: string, count: number): Promise<void> {
    connections?.close();
    connections = await openConnections(address, count);
  },

  /** Keeps requests, so that they are handed over once; the answer is by what they are called. */
  load(path: string, requests: readonly Uint8Array[]): number {
    positions.push(0);
    return loads.push({ path, requests }) - 1;
  },

  async run(index: number, options: LoopOptions): Promise<Loaded> {
    const { path, requests } = loads[index] as Load;
    const from = positions[index] ?? 0;
    const { unary } = opened();
    const loaded = await loop((i) => unary(path, requests[(from + i) % requests.length] as Uint8Array), options);
    positions[index] = (from + loaded.calls) % requests.length;
    return loaded;
  },

  /** Reads a listing to its end. */
  async list(path: string, request: Uint8Array): Promise<Listed> {
    const begin = performance.now();
    const listing = startListing(path, request);
    await listing.call.done;
    const { items, last } = listing;
    return { items, last, seconds: (performance.now() - begin) / 1_000 };
  },

  /** Reads so many items of a listing and then stops reading; `finishListing` reads on. */
  async listUntil(path: string, request: Uint8Array, items: number): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      let isStopped = false;
      const listing = startListing(path, request, (sofar) => {
        if (isStopped || sofar < items) return;
        isStopped = true;
        paused = listing;
        listing.call.pause();
        resolve();
      });
      listing.call.done.then(() => reject(new Error("the listing ended before it was to be stopped")), reject);
    });
  },

  async finishListing(): Promise<number> {
    if (paused === undefined) throw new Error("no listing was stopped");
    const listing = paused;
    paused = undefined;
    listing.call.resume();
    await listing.call.done;
    return listing.items;
  },
};

function startListing(path: string, request: Uint8Array, onItems?: (sofar: number) => void): Listing {
  const read = frameReader((message) => {
    listing.items += countItems(message);
    listing.last = message;
    onItems?.(listing.items);
  });
  const listing: Listing = { call: opened().stream(path, request, read), items: 0, last: undefined };
  return listing;
}

export type Generator = typeof handlers;

serve(handlers);
