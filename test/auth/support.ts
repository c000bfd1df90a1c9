import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { type CreateKeyRequest, Role } from "../../gen/sessions/v1/key_service.js";
import { ListMessagesRequest, MemoryServiceService } from "../../gen/sessions/v1/memory_service.js";
import { type Api, connect, type Loose } from "../support/api.js";
import { frame, rawClient } from "../support/raw-grpc.js";
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

export async function startKeyed({ auth, ...options }: TestServiceOptions = {}): Promise<KeyedService> {
  const adminKey = auth?.keys?.adminKey ?? randomBytes(32).toString("hex");
  const service = await startService({ auth: auth ?? { keys: { adminKey }, tokens: undefined }, ...options });
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

/** A listing of messages whose reader takes nothing until it is told to. A stock client would take some megabytes. */
export async function openListing(address: string, sessionId: string, credential: string) {
  const raw = rawClient(address);
  const stream = raw.open(MemoryServiceService.listMessages.path, { authorization: `Bearer ${credential}` });
  const ended = new Promise<number>((resolve) =>
    stream.once("trailers", (trailers) => resolve(Number(trailers["grpc-status"]))),
  );
  stream.end(frame(ListMessagesRequest.encode(ListMessagesRequest.fromPartial({ sessionId })).finish()));
  await once(stream, "response");
  return {
    /** Reads to the end. The answer is the status. */
    async finish(): Promise<number> {
      stream.resume();
      const status = await ended;
      raw.close();
      return status;
    },
  };
}
