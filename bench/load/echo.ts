import { Server, ServerCredentials } from "@grpc/grpc-js";
import { GetSessionResponse } from "../../gen/sessions/v1/session_service.js";
import { serve } from "./serve.js";

/** A bare grpc-js server that decodes a message with ts-proto and sends it back: what gRPC costs when nothing is done. */

const method = {
  path: "/bench.EchoService/Echo",
  requestStream: false,
  responseStream: false,
  requestSerialize: (message: GetSessionResponse) => Buffer.from(GetSessionResponse.encode(message).finish()),
  requestDeserialize: (bytes: Buffer) => GetSessionResponse.decode(bytes),
  responseSerialize: (message: GetSessionResponse) => Buffer.from(GetSessionResponse.encode(message).finish()),
  responseDeserialize: (bytes: Buffer) => GetSessionResponse.decode(bytes),
} as const;

const handlers = {
  async listen(): Promise<{ address: string; path: string }> {
    const server = new Server();
    server.addService(
      { echo: method },
      {
        echo: (
          { request }: { request: GetSessionResponse },
          respond: (error: null, answer: GetSessionResponse) => void,
        ) => respond(null, request),
      },
    );
    const port = await new Promise<number>((resolve, reject) => {
      server.bindAsync("127.0.0.1:0", ServerCredentials.createInsecure(), (error, bound) =>
        error ? reject(error) : resolve(bound),
      );
    });
    return { address: `127.0.0.1:${port}`, path: method.path };
  },
};

export type Echo = typeof handlers;

serve(handlers);
