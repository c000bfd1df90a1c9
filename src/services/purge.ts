import type { PurgeDeletedRequest, PurgeDeletedResponse } from "../../gen/sessions/v1/purge_service.js";
import type { Call } from "../domain/call.js";
import { createChecks } from "./checks.js";
import type { Purger } from "./purger.js";

export type PurgeService = ReturnType<typeof createPurgeService>;

/** The largest number of seconds that a google.protobuf.Duration may hold: about 10,000 years. */
const MAX_SECONDS = 315_576_000_000;

export function createPurgeService({ purger, retentionMs }: { purger: Purger; retentionMs: number }) {
  return {
    async purgeDeleted({ olderThan, dryRun }: PurgeDeletedRequest, call: Call): Promise<PurgeDeletedResponse> {
      const checks = createChecks();
      if (olderThan) {
        const { seconds, nanos } = olderThan;
        if (seconds <= 0 && nanos <= 0 && seconds + nanos < 0)
          checks.fail("older_than", "Is negative: send 0 or more.");
        else if (seconds < 0 || nanos < 0 || seconds > MAX_SECONDS || nanos > 999_999_999)
          checks.fail("older_than", "Not a valid google.protobuf.Duration.");
      }
      checks.done();

      const olderThanMs = olderThan ? olderThan.seconds * 1000 + Math.ceil(olderThan.nanos / 1e6) : retentionMs;
      const purged = await purger.purgeDeleted(call, olderThanMs, dryRun);
      return { purgedSessions: purged.sessions, purgedMessages: purged.messages, purgedUsers: purged.users };
    },
  };
}
