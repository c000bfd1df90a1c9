import type { Room } from "./server.js";
import { text } from "./text.js";
import { ZEP_VERSION } from "./zep-version.js";

/** What probes ask for, whoever they are and however many calls there are: whether the process lives, and whether it can be called. */
export function healthRoom({ isServing }: { readonly isServing: () => boolean }): Room {
  return (app) => {
    // The legacy SDKs look here, too, and those whose base URL ends in a slash look at the second.
    for (const path of ["/healthz", "//healthz"]) {
      app.get(path, (_request, reply) =>
        reply
          .header(...ZEP_VERSION)
          .type("text/plain; charset=utf-8")
          .send("."),
      );
    }
    app.get("/readyz", (_request, reply) => {
      return isServing()
        ? text(reply, 200, "Ready.")
        : text(reply, 503, "Not ready: the database does not answer, or this process is stopping.");
    });
  };
}
