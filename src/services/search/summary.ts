import { GetMemoryResponse } from "../../../gen/sessions/v1/memory_service.js";
import type { Session, Summary } from "../../../gen/sessions/v1/resources.js";
import type { JsonObject } from "../../domain/json.js";
import type { Filter } from "../../search/message.js";
import { ScopeIndex } from "../../search/scope-index.js";
import { inSlices } from "../../search/slices.js";
import type { Memory } from "../../store/memory.js";
import { millisecondsOf } from "../checks.js";
import { encodeGetMemory } from "../encode.js";

export interface FoundSummary {
  readonly session: Session;
  readonly summary: Summary;
  readonly score: number;
}

interface Query {
  readonly text: string;
  readonly matches: (metadata: JsonObject) => boolean;
  readonly filter: Filter;
}

/** The summary in a memory, when it is what is looked for: an index of it alone tells. */
export async function findSummary(
  memory: Memory | undefined,
  { text, matches, filter }: Query,
  signal: AbortSignal,
): Promise<FoundSummary | undefined> {
  const { session, summary } = GetMemoryResponse.decode(encodeGetMemory(memory).bytes);
  if (!session || !summary?.createTime || !matches(summary.metadata ?? {})) return undefined;
  const document = {
    session: session.sessionId,
    sequence: 1,
    version: 0,
    role: "",
    roleType: 0,
    content: summary.content,
    createTime: millisecondsOf(summary.createTime),
  };
  const index = new ScopeIndex();
  await inSlices(index.add([document]), signal);
  const wanted = { filter, limit: 1 };
  const [hit] = text === "" ? index.newest(wanted) : index.search(text, wanted);
  return hit && { session, summary, score: hit.score };
}
