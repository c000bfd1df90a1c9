import * as wire from "../../gen/sessions/v1/purge_service.js";
import type { PurgeCalls } from "./api.js";
import type { Transport } from "./transport.js";
import { wireDuration } from "./wire.js";

export function purgeCalls({ unary }: Transport): PurgeCalls {
  return {
    async purgeDeleted({ olderThanMs, dryRun } = {}, options) {
      const olderThan = wireDuration("older_than", olderThanMs);
      return unary("purgeDeleted", wire.PurgeDeletedRequest.fromPartial({ olderThan, dryRun }), options);
    },
  };
}
