import type { PurgeDeletedRequest, PurgeDeletedResponse } from "../../gen/sessions/v1/purge_service.js";
import type { Call } from "../domain/call.js";
import { createChecks, durationMs } from "./checks.js";
import type { Purger } from "./purger.js";

export type PurgeService = ReturnType<typeof createPurgeService>;

export function createPurgeService({ purger, retentionMs }: { purger: Purger; retentionMs: number }) {
  return {
    async purgeDeleted({ olderThan, dryRun }: PurgeDeletedRequest, call: Call): Promise<PurgeDeletedResponse> {
      const checks = createChecks();
      if (olderThan) checks.duration("older_than", olderThan);
      checks.done();

      const olderThanMs = olderThan ? durationMs(olderThan) : retentionMs;
      const purged = await purger.purgeDeleted(call, olderThanMs, dryRun);
      return { purgedSessions: purged.sessions, purgedMessages: purged.messages, purgedUsers: purged.users };
    },
  };
}
