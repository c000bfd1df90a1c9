import type * as api from "../../../gen/sessions/v1/memory_service.js";
import { SearchMode } from "../../../gen/sessions/v1/memory_service.js";
import { RoleType } from "../../../gen/sessions/v1/resources.js";
import type { Call } from "../../domain/call.js";
import type { Encoded } from "../../domain/encoded.js";
import { embeddingsNotConfigured, SessionsError } from "../../domain/errors.js";
import type { JsonObject } from "../../domain/json.js";
import { keyOf } from "../../domain/keys.js";
import { DEFAULT_SEARCH_LIMIT, MAX_NEIGHBORS, MAX_SEARCH_LIMIT } from "../../domain/limits.js";
import { contains } from "../../domain/metadata.js";
import { filterTerms } from "../../domain/metadata-terms.js";
import type { MessageRecord } from "../../domain/records.js";
import type { Filter, Hit } from "../../search/message.js";
import type { RawDocument } from "../../store/raw.js";
import type { Scope } from "../../store/scope-reads.js";
import { createChecks, millisecondsOf } from "../checks.js";
import { loadedMetadata } from "../convert.js";
import { encodeSearchMemory } from "../encode.js";
import { countUnembedded, type Meaning, rankByBoth, rankByMeaning, type Wanted } from "./by-meaning.js";
import type { Found } from "./found.js";
import { readHits } from "./hits.js";
import type { Meanings } from "./meanings.js";
import type { Look, Scopes } from "./scopes.js";

export interface SearchDeps {
  readonly scopes: Scopes;
  /** Undefined where there is no embeddings endpoint. */
  readonly meanings?: Meanings | undefined;
}

export type SearchService = ReturnType<typeof createSearchService>;

export function createSearchService({ scopes, meanings }: SearchDeps) {
  return {
    async searchMemory(request: api.SearchMemoryRequest, call: Call): Promise<Encoded<api.SearchMemoryResponse>> {
      checkSearch(request);
      const { mode, meaning } = await meaningOf(meanings, request, call);
      const query = {
        metadata: request.metadata ?? {},
        filter: filterOf(call.project, request),
        limit: Math.min(request.limit || DEFAULT_SEARCH_LIMIT, MAX_SEARCH_LIMIT),
        neighbors: Math.min(request.neighbors, MAX_NEIGHBORS),
      };
      const answer = await scopes.look(call, scopeOf(call.project, request), async (at) => ({
        found: await find(at, query, rankingOf(at, request.text, mode, meaning)),
        unembedded: meanings ? await countUnembedded(at, meanings.model) : 0,
      }));
      return encodeSearchMemory(answer?.found ?? [], mode, answer?.unembedded ?? 0);
    },
  };
}

/** How messages are compared with what is looked for, and with what meaning. */
async function meaningOf(
  meanings: Meanings | undefined,
  { text, mode }: api.SearchMemoryRequest,
  call: Call,
): Promise<{ mode: SearchMode; meaning?: Meaning }> {
  const isAskedFor = mode === SearchMode.SEARCH_MODE_SEMANTIC || mode === SearchMode.SEARCH_MODE_HYBRID;
  if (isAskedFor && !meanings) throw embeddingsNotConfigured();
  if (!meanings || text === "" || mode === SearchMode.SEARCH_MODE_LEXICAL) return LEXICAL;
  try {
    const meaning = { model: meanings.model, direction: await meanings.of(call, text) };
    return { mode: isAskedFor ? mode : SearchMode.SEARCH_MODE_HYBRID, meaning };
  } catch (error) {
    const isAway = error instanceof SessionsError && error.reason === "EMBEDDINGS_UNAVAILABLE";
    // The words are half of a hybrid search, and none of a semantic one.
    if (isAway && mode !== SearchMode.SEARCH_MODE_SEMANTIC) return LEXICAL;
    throw error;
  }
}

const LEXICAL = { mode: SearchMode.SEARCH_MODE_LEXICAL } as const;

type Ranking = (wanted: Wanted) => Promise<readonly Hit[]>;

function rankingOf(at: Look, text: string, mode: SearchMode, meaning: Meaning | undefined): Ranking {
  if (meaning && mode === SearchMode.SEARCH_MODE_SEMANTIC) return (wanted) => rankByMeaning(at, meaning, wanted);
  if (meaning) return (wanted) => rankByBoth(at, text, meaning, wanted);
  return async (wanted) => (text === "" ? at.index.newest(wanted) : at.index.search(text, wanted));
}

interface Query {
  readonly metadata: JsonObject;
  readonly filter: Filter;
  readonly limit: number;
  readonly neighbors: number;
}

/** The hits that the metadata filter lets through: by its terms alone there may be some that it does not. */
async function find(at: Look, { metadata, filter, limit, neighbors }: Query, rank: Ranking): Promise<readonly Found[]> {
  const isFiltered = Object.keys(metadata).length > 0;
  const matches = (message: RawDocument<MessageRecord>): boolean =>
    !isFiltered || contains(loadedMetadata(message.pick("metadata").metadata), metadata);
  for (let candidates = limit; ; candidates *= 4) {
    const hits = await rank({ filter, limit: candidates, neighbors });
    const { found, isCut } = await readHits(at, hits, matches, limit);
    if (found.length === limit || isCut || hits.length < candidates) return found;
  }
}

function scopeOf(project: string, { sessionId, userId }: api.SearchMemoryRequest): Scope {
  return sessionId === undefined ? { user: keyOf(project, userId ?? "") } : { session: keyOf(project, sessionId) };
}

function filterOf(project: string, request: api.SearchMemoryRequest): Filter {
  const { createdAfter, createdBefore, roleTypes, metadata = {} } = request;
  return {
    roleTypes,
    terms: filterTerms(project, metadata),
    ...(createdAfter && { createdAfter: millisecondsOf(createdAfter) }),
    // Stored times are whole milliseconds, so what is before a part of one includes that one.
    ...(createdBefore && {
      createdBefore: millisecondsOf({ ...createdBefore, nanos: createdBefore.nanos + 999_999 }),
    }),
  };
}

function checkSearch(request: api.SearchMemoryRequest): void {
  const { text, metadata = {}, sessionId, userId, mode } = request;
  const checks = createChecks();
  checks.content("text", text);
  checks.metadata("metadata", metadata);
  if (text === "" && Object.keys(metadata).length === 0) {
    checks.fail("text", "Neither text nor metadata to look for: send at least one of them.");
  }
  if ((sessionId === undefined) === (userId === undefined)) {
    checks.fail(
      sessionId === undefined ? "session_id" : "user_id",
      "Exactly one of session_id and user_id says where to search: send one of them, and not both.",
    );
  }
  if (sessionId !== undefined) checks.id("session_id", sessionId);
  if (userId !== undefined) checks.id("user_id", userId);
  for (const [index, roleType] of request.roleTypes.entries()) {
    checks.oneOf(`role_types[${index}]`, roleType, RoleType);
  }
  checks.time("created_after", request.createdAfter);
  checks.time("created_before", request.createdBefore);
  checks.count("limit", request.limit);
  checks.count("neighbors", request.neighbors);
  checks.oneOf("mode", mode, SearchMode);
  if (text === "" && (mode === SearchMode.SEARCH_MODE_SEMANTIC || mode === SearchMode.SEARCH_MODE_HYBRID)) {
    checks.fail("mode", "There is no meaning to compare without a text: send one, or leave the mode unspecified.");
  }
  checks.done();
}
