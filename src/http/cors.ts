import { cors as connectCors } from "@connectrpc/connect";
import fastifyCors from "@fastify/cors";
import type { Room } from "./server.js";

/** The web pages that may read what is answered to their browsers: all of them, or those of these origins. */
export type Origins = "*" | readonly string[];

/** For how long a browser need not ask again: as long as the most patient of them remembers it. */
const MAX_AGE_S = 86_400;

/** A room out of others, which pages of these origins may call. Errors say so, too: else a page would not see what is wrong. */
export function openToPages(origins: Origins, rooms: readonly Room[]): Room {
  return async (app) => {
    if (origins.length > 0) {
      await app.register(fastifyCors, {
        origin: origins === "*" ? "*" : [...origins],
        methods: [...connectCors.allowedMethods, "PATCH", "DELETE"],
        allowedHeaders: [...connectCors.allowedHeaders, "authorization", "x-request-id"],
        exposedHeaders: [...connectCors.exposedHeaders, "x-request-id"],
        maxAge: MAX_AGE_S,
      });
    }
    for (const room of rooms) await app.register(async (instance) => room(instance));
  };
}
