import type { DescField, DescMessage } from "@bufbuild/protobuf";

/** How a field's JSON is made: by the library, or by taking the field's messages one by one, or as metadata. */
export type Part =
  | { readonly kind: "plain" }
  | { readonly kind: "struct" }
  | { readonly kind: "message" | "messages"; readonly message: DescMessage };

export interface Field {
  readonly desc: DescField;
  readonly part: Part;
}

export interface Fields {
  readonly byNumber: ReadonlyMap<number, Field>;
  /** By the name that JSON has for it, and by the one that the proto has. */
  readonly byName: ReadonlyMap<string, Field>;
}

const known = new WeakMap<DescMessage, Fields>();

export function fieldsOf(message: DescMessage): Fields {
  const found = known.get(message);
  if (found) return found;
  const all = message.fields.map((desc): Field => ({ desc, part: partOf(desc) }));
  const fields = {
    byNumber: new Map(all.map((field) => [field.desc.number, field])),
    byName: new Map(all.flatMap((field) => [[field.desc.name, field] as const, [field.desc.jsonName, field] as const])),
  };
  known.set(message, fields);
  return fields;
}

/**
 * The messages of `google.protobuf` have a JSON of their own, which the library knows. Metadata is taken out of its hands: it makes an
 * object of every value in it, which takes seconds for as many as a request can hold.
 */
function partOf(field: DescField): Part {
  if (field.fieldKind === "message" && field.message.typeName === "google.protobuf.Struct") return { kind: "struct" };
  if (field.fieldKind === "message" && isOurs(field.message)) return { kind: "message", message: field.message };
  if (field.fieldKind === "list" && field.listKind === "message" && isOurs(field.message)) {
    return { kind: "messages", message: field.message };
  }
  return { kind: "plain" };
}

const isOurs = ({ typeName }: DescMessage): boolean => !typeName.startsWith("google.protobuf.");
