import { readFileSync } from "node:fs";
import {
  create,
  createFileRegistry,
  type DescField,
  type DescMessage,
  fromBinary,
  ScalarType,
} from "@bufbuild/protobuf";
import { FileDescriptorSetSchema } from "@bufbuild/protobuf/wkt";

/** What has to be known of a type of message to look over its bytes. */
export interface MessageType {
  /** By their numbers. */
  readonly fields: readonly (FieldType | undefined)[];
}

export interface FieldType {
  /** As the proto spells it. */
  readonly name: string;
  readonly isList: boolean;
  /** Whether it is an integer of 64 bits. */
  readonly isWide: boolean;
  /** What it holds, if that is a message. */
  readonly message: MessageType | undefined;
  /** Of which only one is set at a time. */
  readonly oneof: string | undefined;
}

/** The types of the requests, by the paths of their methods. `descriptors` are files that `npm run generate` makes. */
export function requestTypesIn(descriptors: readonly URL[]): ReadonlyMap<string, MessageType> {
  const file = descriptors.flatMap((url) => fromBinary(FileDescriptorSetSchema, readFileSync(url)).file);
  const registry = createFileRegistry(create(FileDescriptorSetSchema, { file }));
  const known = new Map<string, MessageType>();
  return new Map(
    [...registry].flatMap((desc) =>
      desc.kind === "service"
        ? desc.methods.map(({ name, input }) => [`/${desc.typeName}/${name}`, typeOf(input, known)] as const)
        : [],
    ),
  );
}

/** Metadata is read by struct.ts, which looks for itself. */
const OPAQUE: MessageType = { fields: [] };

function typeOf(message: DescMessage, known: Map<string, MessageType>): MessageType {
  if (message.typeName === "google.protobuf.Struct") return OPAQUE;
  const found = known.get(message.typeName);
  if (found) return found;
  const fields: (FieldType | undefined)[] = [];
  // Before its fields: a message can be in itself.
  known.set(message.typeName, { fields });
  for (const field of message.fields) fields[field.number] = fieldOf(field, known);
  return { fields };
}

function fieldOf(field: DescField, known: Map<string, MessageType>): FieldType {
  const isMessage = field.fieldKind === "message" || (field.fieldKind === "list" && field.listKind === "message");
  return {
    name: field.name,
    isList: field.fieldKind === "list" || field.fieldKind === "map",
    isWide: field.fieldKind === "scalar" && WIDE.has(field.scalar),
    message: isMessage && field.message ? typeOf(field.message, known) : undefined,
    oneof: field.oneof?.name,
  };
}

const WIDE: ReadonlySet<ScalarType> = new Set([ScalarType.INT64, ScalarType.UINT64]);
