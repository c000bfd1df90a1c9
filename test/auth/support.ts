import { randomBytes } from "node:crypto";
import { Metadata } from "@grpc/grpc-js";
import { type CreateKeyRequest, Role } from "../../gen/sessions/v1/key_service.js";
import { ListMessagesRequest, MemoryServiceService } from "../../gen/sessions/v1/memory_service.js";
import { type Api, connect, type Loose } from "../support/api.js";
import { startService, type TestService, type TestServiceOptions } from "../support/service.js";

/** A service that takes keys, and callers with keys of their own. */
export interface KeyedService {
  readonly service: TestService;
  /** The first admin, of the project `default`. */
  readonly admin: Api;
  /** A new key, and the API with it. */
  caller(request: Loose<CreateKeyRequest>): Promise<Keyed>;
  /** The API with this credential, or with none. */
  as(credential: string | undefined): Api;
  stop(): Promise<void>;
}

export type Keyed = Api & { readonly keyId: string; readonly secret: string };

export { Role };

export async function startKeyed(options: TestServiceOptions = {}): Promise<KeyedService> {
  const adminKey = randomBytes(32).toString("hex");
  const service = await startService({ auth: { keys: { adminKey }, tokens: undefined }, ...options });
  const connected: Api[] = [];
  const as = (credential: string | undefined): Api => {
    const api = connect(service.address, credential);
    connected.push(api);
    return api;
  };
  const admin = as(adminKey);
  return {
    service,
    admin,
    as,
    async caller(request) {
      const { key, secret } = await admin.keys.createKey({ name: "test", ...request });
      return { ...as(secret), keyId: key?.keyId ?? "", secret };
    },
    async stop() {
      for (const api of connected) api.close();
      await service.stop();
    },
  };
}

/** A listing of messages whose reader takes nothing until it is told to. */
export function openListing(api: Api, sessionId: string, credential: string) {
  const { path, requestSerialize, responseDeserialize } = MemoryServiceService.listMessages;
  const metadata = new Metadata();
  metadata.set("authorization", `Bearer ${credential}`);
  const request = ListMessagesRequest.fromPartial({ sessionId });
  const stream = api.client.makeServerStreamRequest(path, requestSerialize, responseDeserialize, request, metadata);
  return {
    answered: new Promise((resolve) => stream.once("metadata", resolve)),
    /** With the error that it ended with, if it did. */
    ended: new Promise<unknown>((resolve) => stream.once("error", resolve).once("end", resolve)),
    read: () => void stream.on("data", () => {}),
  };
}
