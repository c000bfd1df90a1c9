import type { Route } from "./route.js";

/** Searching a session's memory. There is nothing yet that could. */
export function searchRoutes(): Route[] {
  return [
    {
      method: "POST",
      url: "/sessions/:id/search",
      path: "/zep.v1/SearchMemory",
      run: () => Promise.resolve({ status: 501, text: "This server does not search memories yet.\n" }),
    },
  ];
}
