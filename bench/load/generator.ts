import { setTimeout as sleep } from "node:timers/promises";
import { countItems, frameReader } from "./frames.js";
import { type Connections, openConnections, type StreamCall } from "./http2.js";
import { type Loaded, type LoopOptions, loop } from "./loop.js";
import { serve } from "./serve.js";

/** The load generator, a process of its own: calls with requests that are encoded already. */

/** Calls of one method. */
export interface Step {
  readonly path: string;
  readonly requests: readonly Uint8Array[];
}

export interface Listed {
  readonly items: number;
  readonly seconds: number;
  /** The stream's last message, which holds the last cursor. */
  readonly last: Uint8Array | undefined;
}

let services: readonly Connections[] = [];
/** The steps of each, which are made one after the other: the first request of every step, then the second of every step. */
const loads: (readonly Step[])[] = [];
/** Goes on where it stopped, so that a load's requests come in turn over all rounds. */
const positions: number[] = [];

interface Listing {
  readonly call: StreamCall;
  items: number;
  last: Uint8Array | undefined;
}
let paused: Listing | undefined;

let isHogging = false;
let served = 0;
let refused = 0;
const countServed = (): void => void served++;
const countRefused = (): void => void refused++;

let calls = 0;

/** In turn: each call goes to another service than the call before, where there are several, whatever it is about. */
function service(): Connections {
  const found = services[calls++ % services.length];
  if (found === undefined) throw new Error("not connected");
  return found;
}

const handlers = {
  async connect(addresses: readonly string[], count: number, credential?: string): Promise<void> {
    for (const connections of services) connections.close();
    services = await Promise.all(addresses.map((address) => openConnections(address, count, credential)));
  },

  /** Keeps requests, so that they are handed over once; the answer is by what they are called. */
  load(...steps: Step[]): number {
    positions.push(0);
    return loads.push(steps) - 1;
  },

  async run(index: number, options: LoopOptions): Promise<Loaded> {
    const steps = loads[index] as readonly Step[];
    const length = steps[0]?.requests.length ?? 0;
    const from = positions[index] ?? 0;
    const loaded = await loop(async (i) => {
      const at = (from + i) % length;
      for (const { path, requests } of steps) await service().unary(path, requests[at] as Uint8Array);
    }, options);
    positions[index] = (from + loaded.calls) % length;
    return loaded;
  },

  /**
   * Makes as many calls as it can until it is told to stop, whatever becomes of them; a call that is refused at once is made again at once,
   * unless there is to be a pause after each.
   */
  async hog(index: number, inFlight: number, pauseMs = 0): Promise<void> {
    const [step] = loads[index] as readonly Step[];
    if (step === undefined) throw new Error("no such load");
    const { path, requests } = step;
    const { unary } = service();
    isHogging = true;
    let n = 0;
    const runner = async (): Promise<void> => {
      while (isHogging) {
        await unary(path, requests[n++ % requests.length] as Uint8Array).then(countServed, countRefused);
        if (pauseMs > 0) await sleep(pauseMs);
      }
    };
    for (let at = 0; at < inFlight; at++) void runner();
  },

  /** The answer is how many calls were served and refused. */
  async stopHogging(): Promise<{ served: number; refused: number }> {
    isHogging = false;
    const counts = { served, refused };
    served = 0;
    refused = 0;
    return counts;
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
  const listing: Listing = { call: service().stream(path, request, read), items: 0, last: undefined };
  return listing;
}

export type Generator = typeof handlers;

serve(handlers);
