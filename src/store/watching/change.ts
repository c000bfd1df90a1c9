import type { Binary, Long, Timestamp } from "mongodb";
import type { Change } from "../../domain/watching/changes.js";

/** A change as the stream has it, with what it asks for of each. */
export interface RawChange {
  readonly operationType: "insert" | "update" | "replace" | "delete";
  readonly ns: { readonly coll: "sessions" | "messages" };
  readonly documentKey: { readonly _id: string };
  readonly clusterTime: Timestamp;
  readonly wallTime: Date;
  /** What tells its transaction; absent where a change was made by itself. */
  readonly lsid?: { readonly id: Binary };
  readonly txnNumber?: Long;
  readonly fullDocument?: {
    readonly session?: string;
    readonly epoch?: string;
    readonly sequence?: number;
    readonly deleted?: boolean;
  };
  readonly updateDescription?: {
    readonly updatedFields?: { readonly deleted?: boolean };
    readonly removedFields?: readonly string[];
  };
  /** Of the document. */
  readonly bytes: number;
}

export function changeOf(raw: RawChange): Change {
  return raw.ns.coll === "sessions" ? sessionChange(raw) : messageChange(raw);
}

function sessionChange({ operationType, documentKey, fullDocument, updateDescription }: RawChange): Change {
  const session = documentKey._id;
  if (operationType === "delete") return { kind: "session removed", session };
  if (operationType === "insert") {
    return { kind: "session inserted", session, deleted: fullDocument?.deleted === true };
  }
  // The database logs the whole document where that is less than what is different in it, as it may be with few fields.
  if (operationType === "replace") {
    return { kind: "session updated", session, set: REPLACED, unset: new Set(), deleted: undefined };
  }
  const { updatedFields = {}, removedFields = [] } = updateDescription ?? {};
  return {
    kind: "session updated",
    session,
    set: new Set(Object.keys(updatedFields)),
    unset: new Set(removedFields),
    deleted: updatedFields.deleted,
  };
}

const REPLACED: ReadonlySet<string> = new Set(["version"]);

function messageChange({ operationType, documentKey, fullDocument, updateDescription, bytes }: RawChange): Change {
  const { _id } = documentKey;
  const slash = _id.indexOf("/");
  const ref = { epoch: _id.slice(0, slash), messageId: _id.slice(slash + 1) };
  if (operationType === "insert") {
    const { session = "", sequence = 0 } = fullDocument ?? {};
    return { kind: "message added", ...ref, session, sequence, bytes };
  }
  const deleted = updateDescription?.updatedFields?.deleted === true;
  return { kind: deleted ? "message deleted" : "message updated", ...ref, bytes: deleted ? 0 : UPDATED_BYTES };
}

/** What a message may have whose size an update does not tell. */
const UPDATED_BYTES = 16 * 1024;
