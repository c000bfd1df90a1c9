import { encodeMessages } from "../../src/services/encode.js";
import { createPurger, type Purger } from "../../src/services/purging/purger.js";
import { createRestoreSession } from "../../src/services/purging/restoration.js";
import { createGroupCommit } from "../../src/store/changes/group-commit.js";
import { applyChanges } from "../../src/store/changes/transaction.js";
import type { Database } from "../../src/store/database.js";
import { createRetirement } from "../../src/store/erasing/retirement.js";
import { createWork, type Work } from "../../src/store/erasing/work.js";
import { createKnownSessions } from "../../src/store/known/sessions.js";
import { createUserStore } from "../../src/store/users.js";

/**
 * The purger of one more process on a database, which makes a pass only when it is told to. Its clock goes ahead of the
 * database's by `clockAheadMs`, as if that much time had passed since everything was deleted. `ownWork` has it find its work in
 * another way.
 */
export function createTestPurger(database: Database, clockAheadMs = 0, ownWork: Partial<Work> = {}): Purger {
  const known = createKnownSessions({ memoryBytes: 0, usualWindow: 0 }, encodeMessages);
  const changes = createGroupCommit((group) => applyChanges(database, known, group));
  const retirement = createRetirement(database);
  const work = createWork(database);
  return createPurger({
    changes,
    users: createUserStore(database),
    retirement,
    work: { ...work, now: async () => new Date((await work.now()).getTime() + clockAheadMs), ...ownWork },
    restoreSession: createRestoreSession({ changes, retirement }),
    takeTurn: async () => true,
    intervalMs: 2 ** 30,
    onError: (error) => {
      throw error;
    },
  });
}
