import { randomUUID } from "node:crypto";
import { readFileSync } from "node:fs";
import { create, createFileRegistry, type DescField, type DescMessage, fromBinary, toBinary } from "@bufbuild/protobuf";
import { FileDescriptorSetSchema } from "@bufbuild/protobuf/wkt";
import type { Client, ServiceError } from "@grpc/grpc-js";

/** A method of the API, as its descriptor has it. */
export interface AnyMethod {
  readonly path: string;
  readonly responseStream: boolean;
  /** A valid request with nothing in it but what is required, and with ids that no other request has. */
  request(): Buffer;
}

/** Made from the descriptors, and by the comments of the protos: a new method is among them without being named anywhere. */
export const EVERY_METHOD: readonly AnyMethod[] = [...readDescriptors()].flatMap((desc) =>
  desc.kind !== "service"
    ? []
    : desc.methods.map(({ name, methodKind, input }) => ({
        path: `/${desc.typeName}/${name}`,
        responseStream: methodKind === "server_streaming",
        request: () => smallest(input),
      })),
);

/** Calls a method and reads its answer to the end. */
export function callAny(client: Client, { path, responseStream, request }: AnyMethod): Promise<void> {
  const asIs = (bytes: Buffer): Buffer => bytes;
  return new Promise((resolve, reject) => {
    if (responseStream) {
      const stream = client.makeServerStreamRequest(path, asIs, asIs, request());
      stream.on("error", reject).on("end", resolve).resume();
    } else {
      client.makeUnaryRequest(path, asIs, asIs, request(), (error: ServiceError | null) =>
        error ? reject(error) : resolve(),
      );
    }
  });
}

function readDescriptors() {
  const file = new URL("../../gen/descriptors/sessions.binpb", import.meta.url);
  return createFileRegistry(fromBinary(FileDescriptorSetSchema, readFileSync(file)));
}

function smallest(message: DescMessage): Buffer {
  const either = ONE_OF_SEVERAL[message.typeName] ?? [];
  const required = message.fields.filter(
    (field) => commentOf(field).startsWith("Required.") || either.includes(field.name),
  );
  const values = Object.fromEntries(required.map((field) => [field.localName, valueFor(field)]));
  return Buffer.from(toBinary(message, create(message, values)));
}

/** Where of several fields that are optional one has to be there. */
const ONE_OF_SEVERAL: Readonly<Record<string, readonly string[]>> = {
  "sessions.v1.SearchMemoryRequest": ["text", "session_id"],
  "sessions.v1.RewindMemoryRequest": ["after_message_id"],
};

/** What is required are ids, as good as everywhere, or else something out of an enum. */
function valueFor(field: DescField): string | string[] | number {
  if (field.fieldKind === "enum") return field.enum.values.find(({ number }) => number > 0)?.number ?? 0;
  return field.fieldKind === "list" ? [randomUUID()] : randomUUID();
}

function commentOf({ parent, proto }: DescField): string {
  const file = parent.file.proto;
  const path = [MESSAGES, file.messageType.indexOf(parent.proto), FIELDS, parent.proto.field.indexOf(proto)].join();
  const found = file.sourceCodeInfo?.location.find((location) => location.path.join() === path);
  return found?.leadingComments.trim() ?? "";
}

/** Where a file's descriptor has its messages, and a message's its fields. */
const MESSAGES = 4;
const FIELDS = 2;
