import { randomUUID } from "node:crypto";
import { MetadataMode } from "../../../gen/sessions/v1/resources.js";
import type * as api from "../../../gen/sessions/v1/session_service.js";
import type { Call } from "../../domain/call.js";
import { beginFork, type Fork, publishFork } from "../../domain/fork.js";
import { idOf, keyOf } from "../../domain/keys.js";
import { newId } from "../../domain/new-id.js";
import type { SessionRecord } from "../../domain/records.js";
import type { Copy, ForkStore } from "../../store/forks/forks.js";
import { createChecks } from "../checks.js";
import { loadedMetadata, metadataUpdate, toSession } from "../convert.js";
import type { Purger } from "../purging/purger.js";
import { ownerFor } from "../reach.js";
import type { MakeSession } from "./new-session.js";

export interface ForkDeps {
  readonly forks: ForkStore;
  readonly purger: Purger;
  readonly makeSession: MakeSession;
  /** Whose turn it is to have some messages copied. */
  readonly turns: { take<T>(project: string, signal: AbortSignal, act: () => Promise<T>): Promise<T> };
}

export type ForkService = ReturnType<typeof createForkService>;

export function createForkService({ forks, purger, makeSession, turns }: ForkDeps) {
  /** One attempt; nothing when the source has another memory at its end than at its beginning. */
  async function attempt(call: Call, fork: Fork): Promise<SessionRecord | undefined> {
    const begun = await forks.begin(call, fork, (state) => beginFork(state, fork));
    let made: SessionRecord | undefined;
    try {
      let copy: Copy | undefined = begun;
      while (copy && copy.to < copy.extent.upTo) copy = await copyMore(call, copy);
      call.signal.throwIfAborted();
      made = copy && (await forks.publish(call, copy, (state, copied) => publishFork(state, fork, copied)));
      return made;
    } finally {
      if (!made) purger.nudgeCopy(fork.epoch);
    }
  }

  const copyMore = (call: Call, copy: Copy): Promise<Copy | undefined> =>
    turns.take(call.project, call.signal, () => forks.copy(call, copy));

  return {
    async forkSession(request: api.ForkSessionRequest, call: Call): Promise<api.ForkSessionResponse> {
      const { sessionId, newSessionId, upToMessageId, userId } = request;
      const checks = createChecks();
      checks.id("session_id", sessionId);
      if (newSessionId !== "") checks.id("new_session_id", newSessionId);
      checks.optionalId("up_to_message_id", upToMessageId);
      if (userId) checks.id("user_id", userId);
      checks.metadata("metadata", request.metadata);
      checks.done();

      if (userId !== undefined) ownerFor(call, userId);
      const target = newSessionId || randomUUID();
      const merge = metadataUpdate(request.metadata, MetadataMode.METADATA_MODE_MERGE) ?? loadedMetadata;
      const ownerOf = ({ user }: SessionRecord): string | undefined =>
        (userId === undefined ? user && idOf(user) : userId) || undefined;
      for (;;) {
        const session = await attempt(call, {
          epoch: newId(),
          source: keyOf(call.project, sessionId),
          target: keyOf(call.project, target),
          upToMessageId,
          owner: (source) => keyOfUser(call, ownerOf(source)),
          make: (source) =>
            makeSession(call, target, { userId: ownerOf(source), metadata: merge(source.metadata), expiry: undefined }),
        });
        if (session) return { session: toSession(session) };
      }
    },
  };
}

const keyOfUser = ({ project }: Call, userId: string | undefined): string | undefined =>
  userId === undefined ? undefined : keyOf(project, userId);
