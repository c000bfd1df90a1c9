import { type Client, Metadata, type ServiceError } from "@grpc/grpc-js";

/** A unary call with the bytes of its request as they are: what no generated client would send. */
export function sendBytes(client: Client, path: string, request: Uint8Array): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    client.makeUnaryRequest(
      path,
      (bytes: Buffer) => bytes,
      (bytes: Buffer) => bytes,
      Buffer.from(request),
      new Metadata(),
      { deadline: Date.now() + 60_000 },
      (error: ServiceError | null, response?: Buffer) => (error ? reject(error) : resolve(response as Buffer)),
    );
  });
}
