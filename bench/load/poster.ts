import { openPosts, type Posts } from "./http1.js";
import { type Loaded, type LoopOptions, loop } from "./loop.js";
import { serve } from "./serve.js";

/** The load generator for HTTP, a process of its own: requests that are made already, in turn over all rounds. */

let posts: Posts | undefined;
let requests: readonly Buffer[] = [];
let position = 0;

const handlers = {
  async load(address: string, count: number, prepared: readonly Uint8Array[]): Promise<void> {
    posts = await openPosts(address, count);
    requests = prepared.map((request) => Buffer.from(request));
  },

  async run(options: LoopOptions): Promise<Loaded> {
    const { post } = posts as Posts;
    return loop(() => post(requests[position++ % requests.length] as Buffer), options);
  },
};

export type Poster = typeof handlers;

serve(handlers);
