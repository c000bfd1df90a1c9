import type { KeyService } from "./key.js";
import type { MemoryService } from "./memory/memory.js";
import type { PurgeService } from "./purging/purge.js";
import type { SearchService } from "./search/index.js";
import type { ForkService } from "./session/fork.js";
import type { SessionService } from "./session/session.js";
import type { UserService } from "./user.js";
import type { WatchService } from "./watch/index.js";

/** What the house does for those who call, whichever door they come by. */
export interface Services {
  readonly session: SessionService;
  readonly fork: ForkService;
  readonly watch: WatchService;
  readonly memory: MemoryService;
  readonly search: SearchService;
  readonly user: UserService;
  readonly purge: PurgeService;
  readonly key: KeyService;
}
