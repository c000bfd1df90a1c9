import { unimplemented } from "../../domain/errors.js";
import type { Route } from "./route.js";

/** Searching a session's memory. There is nothing yet that could. */
export function searchRoutes(): Route[] {
  return [
    {
      method: "POST",
      url: "/sessions/:id/search",
      path: "/zep.v1/SearchMemory",
      async run() {
        throw unimplemented("This server does not search memories yet.");
      },
    },
  ];
}
