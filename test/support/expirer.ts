import { encodeMessages } from "../../src/services/encode.js";
import { createExpirer, type Expirer } from "../../src/services/purging/expirer.js";
import { createGroupCommit } from "../../src/store/changes/group-commit.js";
import { applyChanges } from "../../src/store/changes/transaction.js";
import type { Database } from "../../src/store/database.js";
import { createWork, type Work } from "../../src/store/erasing/work.js";
import { createKnownSessions } from "../../src/store/known/sessions.js";

/**
 * The part of one more process on a database that deletes what has expired, which looks only when it is told to. `ownWork` has it find
 * its work in another way: it does not go by that alone.
 */
export function createTestExpirer(
  database: Database,
  ownWork: Partial<Work> = {},
): Expirer & { readonly expired: number } {
  const known = createKnownSessions({ memoryBytes: 0, usualWindow: 0 }, encodeMessages);
  const expirer = createExpirer({
    changes: createGroupCommit((group) => applyChanges(database, known, group)),
    work: { ...createWork(database), ...ownWork },
    nudge: () => {},
    takeTurn: async () => true,
    intervalMs: 2 ** 30,
    retentionMs: 30 * 86_400_000,
    onExpired: () => {
      test.expired += 1;
    },
    onError: (error) => {
      throw error;
    },
  });
  const test = { ...expirer, expired: 0 };
  return test;
}
