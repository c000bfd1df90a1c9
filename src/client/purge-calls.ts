import * as wire from "../../gen/sessions/v1/purge_service.js";
import type { PurgeCalls } from "./api.js";
import { toErasureReceipt } from "./convert.js";
import { listingCall } from "./listing-call.js";
import type { Transport } from "./transport.js";
import { wireDuration } from "./wire.js";

export function purgeCalls(transport: Transport): PurgeCalls {
  const { unary } = transport;
  return {
    async purgeDeleted({ olderThanMs, dryRun } = {}, options) {
      const olderThan = wireDuration("older_than", olderThanMs);
      return unary("purgeDeleted", wire.PurgeDeletedRequest.fromPartial({ olderThan, dryRun }), options);
    },
    listErasures(request = {}, options) {
      return listingCall(transport, {
        name: "listErasures",
        from: request,
        options,
        request: () => wire.ListErasuresRequest.fromPartial(request),
        itemsOf: ({ receipts }) => receipts.map(toErasureReceipt),
      });
    },
  };
}
