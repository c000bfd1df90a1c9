import { SearchMemoryRequest, SearchMemoryResponse } from "../../../gen/sessions/v1/memory_service.js";
import type { Message } from "../../../gen/sessions/v1/resources.js";
import type { SearchService } from "../../services/search/index.js";
import { type Fields, fieldsOf, readBody } from "./body.js";
import { millisecondsIn } from "./dates.js";
import { toZepMessage, toZepSummary, type ZepMessage, type ZepSummary } from "./objects.js";
import { integers } from "./query.js";
import { decoded, json, type Route } from "./route.js";
import { readWhere } from "./where/where.js";

const DEFAULT_LIMIT = 10;

export function searchRoutes(search: SearchService): Route[] {
  return [
    {
      method: "POST",
      url: "/sessions/:id/search",
      path: "/zep.v1/SearchMemory",
      async run({ ids, query, body }, call) {
        const { limit } = integers(query, "limit");
        const { text, scope, ...narrowed } = searchIn(fieldsOf(readBody(body)));
        const request = SearchMemoryRequest.fromPartial({ sessionId: ids.id, text });
        const wider = { ...narrowed, limit: limit < 0 ? Number.POSITIVE_INFINITY : limit || DEFAULT_LIMIT };
        if (scope === "summary") {
          const found = await search.searchSummary(request, call, wider);
          return json(found ? [resultOf(found.score, null, toZepSummary(found.session, found.summary))] : []);
        }
        const { results } = decoded(SearchMemoryResponse, await search.searchMemory(request, call, wider));
        return json(results.map(({ message, score }) => resultOf(score, toZepMessage(message as Message), null)));
      },
    },
  ];
}

/**
 * What a body asks for. Keys beside the three in `metadata` count for nothing there, and so does how the results are to be spread
 * (`search_type`, `mmr_lambda`).
 */
function searchIn(fields: Fields) {
  const text = fields.text("text") ?? "";
  const scope = fields.text("search_scope") || "messages";
  if (scope !== "messages" && scope !== "summary") fields.fail("search_scope", 'Neither "messages" nor "summary".');
  fields.text("search_type");
  fields.number("mmr_lambda");
  const metadata = fields.object("metadata") ?? {};
  if (text === "" && Object.keys(metadata).length === 0) {
    fields.fail("text", "Neither text nor metadata to look for: send at least one of them.");
  }
  const inMetadata = fieldsOf(metadata, "metadata.");
  const from = dateIn(inMetadata, "start_date");
  const to = dateIn(inMetadata, "end_date");
  fields.done();
  inMetadata.done();
  return {
    text,
    scope,
    matches: readWhere(metadata.where ?? null),
    // Both ends count, and what is stored are whole milliseconds.
    ...(from !== undefined && { createdAfter: Math.ceil(from) - 1 }),
    ...(to !== undefined && { createdBefore: Math.floor(to) + 1 }),
  };
}

function dateIn(fields: Fields, name: string): number | undefined {
  const text = fields.text(name);
  if (text === undefined) return undefined;
  const milliseconds = millisecondsIn(text);
  if (milliseconds === undefined) fields.fail(name, "Not a date such as 2026-11-25 or 2026-11-25T08:13:25Z.");
  return milliseconds;
}

/** `dist` is a likeness there, between 0 and 1. Ours are larger for better, too, and have no bounds. */
function resultOf(score: number, message: ZepMessage | null, summary: ZepSummary | null) {
  return { message, summary, dist: score / (1 + score), embedding: null };
}
