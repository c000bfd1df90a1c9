import * as wire from "../../gen/sessions/v1/user_service.js";
import type { UserCalls } from "./api.js";
import { toErasureReceipt, toUser } from "./convert.js";
import { listingCall } from "./listing-call.js";
import type { Transport } from "./transport.js";
import { wireMode } from "./wire.js";

export function userCalls(transport: Transport): UserCalls {
  const { unary } = transport;
  return {
    async createUser(request, options) {
      const { user } = await unary("createUser", wire.CreateUserRequest.fromPartial(request), options);
      return toUser(user);
    },
    async getUser(request, options) {
      const { user } = await unary("getUser", wire.GetUserRequest.fromPartial(request), options);
      return toUser(user);
    },
    async updateUser({ metadataMode, ...rest }, options) {
      const request = wire.UpdateUserRequest.fromPartial({ ...rest, metadataMode: wireMode(metadataMode) });
      const { user } = await unary("updateUser", request, options);
      return toUser(user);
    },
    async deleteUser(request, options) {
      const { user } = await unary("deleteUser", wire.DeleteUserRequest.fromPartial(request), options);
      return toUser(user);
    },
    async undeleteUser(request, options) {
      const { user } = await unary("undeleteUser", wire.UndeleteUserRequest.fromPartial(request), options);
      return toUser(user);
    },
    async purgeUser(request, options) {
      const { receipt, ...counts } = await unary("purgeUser", wire.PurgeUserRequest.fromPartial(request), options);
      return { ...counts, receipt: toErasureReceipt(receipt) };
    },
    listUsers(request = {}, options) {
      return listingCall(transport, {
        name: "listUsers",
        from: request,
        options,
        request: () => wire.ListUsersRequest.fromPartial(request),
        itemsOf: ({ users }) => users.map(toUser),
      });
    },
  };
}
