import type { Room } from "./server.js";
import { text } from "./text.js";

export interface MetricsRoomOptions {
  /** All figures, in the format of this type. Rejects when they cannot be had in time. */
  readonly figures: () => Promise<string>;
  readonly contentType: string;
}

/** For how long an answer serves all who ask: whoever reaches the port may ask as often as they like, and to make it takes milliseconds. */
const REUSE_MS = 100;

/** What Prometheus scrapes. Open to all, as there is nothing in it about anybody in particular. */
export function metricsRoom({ figures, contentType }: MetricsRoomOptions): Room {
  let newest: { readonly figures: Promise<string>; readonly asked: number } | undefined;
  return (app) => {
    app.get("/metrics", async (_request, reply) => {
      const now = performance.now();
      if (!newest || now - newest.asked > REUSE_MS) newest = { figures: figures(), asked: now };
      const told = await newest.figures.catch(() => undefined);
      // No figures are better than those of some workers, which would look as if all had begun anew.
      if (told === undefined) return text(reply, 503, "The figures could not be had in time.");
      return reply.type(contentType).send(told);
    });
  };
}
