import * as wire from "../../gen/sessions/v1/key_service.js";
import type { KeyCalls } from "./api.js";
import { toKey } from "./convert.js";
import { listingCall } from "./listing-call.js";
import type { Transport } from "./transport.js";
import { wireRole, wireTime } from "./wire.js";

export function keyCalls(transport: Transport): KeyCalls {
  const { unary } = transport;
  return {
    async createKey({ role, expireTime, ...rest }, options) {
      const request = wire.CreateKeyRequest.fromPartial({
        ...rest,
        role: wireRole(role),
        expireTime: wireTime("expire_time", expireTime),
      });
      const { key, secret } = await unary("createKey", request, options);
      return { key: toKey(key), secret };
    },
    listKeys(request = {}, options) {
      return listingCall(transport, {
        name: "listKeys",
        from: request,
        options,
        request: () => wire.ListKeysRequest.fromPartial(request),
        itemsOf: ({ keys }) => keys.map(toKey),
      });
    },
    async revokeKey(request, options) {
      const { key } = await unary("revokeKey", wire.RevokeKeyRequest.fromPartial(request), options);
      return toKey(key);
    },
  };
}
