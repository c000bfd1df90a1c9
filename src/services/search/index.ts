import type * as api from "../../../gen/sessions/v1/memory_service.js";
import { SearchMode } from "../../../gen/sessions/v1/memory_service.js";
import { RoleType } from "../../../gen/sessions/v1/resources.js";
import type { Call } from "../../domain/call.js";
import type { Encoded } from "../../domain/encoded.js";
import { embeddingsNotConfigured, SessionsError } from "../../domain/errors.js";
import type { JsonObject } from "../../domain/json.js";
import { keyOf } from "../../domain/keys.js";
import { DEFAULT_SEARCH_LIMIT, MAX_MEMORY_BYTES, MAX_NEIGHBORS, MAX_SEARCH_LIMIT } from "../../domain/limits.js";
import { contains } from "../../domain/metadata.js";
import { ANY_TERM, filterTerms } from "../../domain/metadata-terms.js";
import type { Filter, Hit } from "../../search/message.js";
import type { MemoryReader } from "../../store/memory.js";
import type { Scope } from "../../store/scope-reads.js";
import { createChecks, millisecondsOf } from "../checks.js";
import { encodeRestOfMemory, encodeSearchMemory } from "../encode.js";
import { countUnembedded, type Meaning, rankByBoth, rankByMeaning, type Wanted } from "./by-meaning.js";
import { find, MAX_HITS } from "./find.js";
import type { Meanings } from "./meanings.js";
import type { Look, Scopes } from "./scopes.js";
import { type FoundSummary, findSummary } from "./summary.js";

export interface SearchDeps {
  readonly scopes: Scopes;
  readonly memory: MemoryReader;
  /** Undefined where there is no embeddings endpoint. */
  readonly meanings?: Meanings | undefined;
}

/** What doors with another API than this one may ask for besides. */
export interface Wider {
  /** Which metadata hits may have. */
  readonly matches?: ((metadata: JsonObject) => boolean) | undefined;
  /** In milliseconds since 1970, themselves excluded. */
  readonly createdAfter?: number;
  readonly createdBefore?: number;
  /** In place of the request's, and as large as one likes: there are never more than one answer has room for. */
  readonly limit: number;
}

export type SearchService = ReturnType<typeof createSearchService>;

export function createSearchService({ scopes, memory, meanings }: SearchDeps) {
  return {
    async searchMemory(
      request: api.SearchMemoryRequest,
      call: Call,
      wider?: Wider,
    ): Promise<Encoded<api.SearchMemoryResponse>> {
      checkSearch(request, wider !== undefined);
      const { mode, meaning } = await meaningOf(meanings, request, call);
      const query = {
        matches: wider?.matches ?? containing(request.metadata ?? {}),
        filter: { ...filterOf(call.project, request), ...boundsOf(wider) },
        limit: wider
          ? Math.min(wider.limit, MAX_HITS)
          : Math.min(request.limit || DEFAULT_SEARCH_LIMIT, MAX_SEARCH_LIMIT),
        neighbors: Math.min(request.neighbors, MAX_NEIGHBORS),
      };
      const answer = await scopes.look(call, scopeOf(call.project, request), async (at) => ({
        found: await find(at, rankingOf(at, request.text, mode, meaning), query, call.signal),
        unembedded: meanings ? await countUnembedded(at, meanings.model) : 0,
      }));
      return encodeSearchMemory(answer?.found ?? [], mode, answer?.unembedded ?? 0);
    },

    /** The summary of a session, when it is what is looked for. No call of this API finds summaries, but others do. */
    async searchSummary(request: api.SearchMemoryRequest, call: Call, wider: Wider): Promise<FoundSummary | undefined> {
      checkSearch(request, true);
      const key = keyOf(call.project, request.sessionId ?? "");
      const found = await memory.read(call, {
        session: key,
        limit: 1,
        afterSummary: false,
        maxBytes: MAX_MEMORY_BYTES,
        encodeRest: encodeRestOfMemory,
      });
      const matches = wider.matches ?? (() => true);
      return findSummary(found, { text: request.text, matches, filter: boundsOf(wider) }, call.signal);
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

function rankingOf(
  at: Look,
  text: string,
  mode: SearchMode,
  meaning: Meaning | undefined,
): (wanted: Wanted) => Promise<readonly Hit[]> {
  if (meaning && mode === SearchMode.SEARCH_MODE_SEMANTIC) return (wanted) => rankByMeaning(at, meaning, wanted);
  if (meaning) return (wanted) => rankByBoth(at, text, meaning, wanted);
  return async (wanted) => (text === "" ? at.index.newest(wanted) : at.index.search(text, wanted));
}

function containing(metadata: JsonObject): Wider["matches"] {
  return Object.keys(metadata).length === 0 ? undefined : (found) => contains(found, metadata);
}

function boundsOf({ createdAfter, createdBefore }: Partial<Wider> = {}): Filter {
  return { ...(createdAfter !== undefined && { createdAfter }), ...(createdBefore !== undefined && { createdBefore }) };
}

function scopeOf(project: string, { sessionId, userId }: api.SearchMemoryRequest): Scope {
  return sessionId === undefined ? { user: keyOf(project, userId ?? "") } : { session: keyOf(project, sessionId) };
}

function filterOf(project: string, request: api.SearchMemoryRequest): Filter {
  const { createdAfter, createdBefore, roleTypes, metadata = {} } = request;
  return {
    roleTypes,
    terms: filterTerms(project, metadata),
    anyTerm: ANY_TERM,
    ...(createdAfter && { createdAfter: millisecondsOf(createdAfter) }),
    // Stored times are whole milliseconds, so what is before a part of one includes that one.
    ...(createdBefore && {
      createdBefore: millisecondsOf({ ...createdBefore, nanos: createdBefore.nanos + 999_999 }),
    }),
  };
}

/** @param mayBeAll Whether it may look for nothing in particular: then it finds the newest */
function checkSearch(request: api.SearchMemoryRequest, mayBeAll: boolean): void {
  const { text, metadata = {}, sessionId, userId, mode } = request;
  const checks = createChecks();
  checks.content("text", text);
  checks.metadata("metadata", metadata);
  if (text === "" && Object.keys(metadata).length === 0 && !mayBeAll) {
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
