/** What the contract lets a request say, told anew and apart from the service's own checks. Empty when all of it is fine. */
export function nonsenseIn(request: unknown, path = ""): string[] {
  if (Array.isArray(request)) return request.flatMap((item, index) => nonsenseIn(item, `${path}[${index}]`));
  if (typeof request !== "object" || request === null || request instanceof Uint8Array) return [];
  return Object.entries(request).flatMap(([name, value]) => {
    const at = path === "" ? name : `${path}.${name}`;
    const fault = faultOf(name, value);
    if (fault) return [`${at}: ${fault}`];
    return name === "messages" ? nonsenseIn(value, at) : [];
  });
}

const MAXIMA: Readonly<Record<string, number>> = { roleType: 5, metadataMode: 3, order: 3 };

function faultOf(name: string, value: unknown): string | undefined {
  if (value === undefined) return undefined;
  switch (name) {
    case "sessionId":
    case "messageId":
    case "recentMessageId":
      return idFault(value as string);
    case "userId":
      return value === "" ? undefined : idFault(value as string);
    case "sessionIds":
      return (value as string[]).length > 100 ? "too many" : (value as string[]).map(idFault).find((fault) => fault);
    case "limit":
    case "chunkSize":
    case "lastN":
    case "tokenCount":
    case "expectedLastSequence":
      return (value as number) < 0 ? `${value}` : undefined;
    case "roleType":
    case "metadataMode":
    case "order":
      return (value as number) < 0 || (value as number) > (MAXIMA[name] as number) ? `${value}` : undefined;
    case "role":
      // A message's is text, a key's one of three.
      if (typeof value === "number") return value < 1 || value > 3 ? `${value}` : undefined;
      return [...(value as string)].length > 256 ? "too long" : undefined;
    case "name":
      return (value as string).trim() === "" || [...(value as string)].length > 256 ? "blank or too long" : undefined;
    case "keyId":
      return /^[0-9a-f-]{36}$/.test(value as string) ? undefined : "no UUID";
    case "project":
      return /^[A-Za-z0-9._-]{1,64}$/.test(value as string) ? undefined : "no project's name";
    case "expireTime":
      return timeFault(value as Time, Math.floor(Date.now() / 1000) - 60, 253_402_300_799);
    case "expiry":
      return expiryFault(value as Expiry);
    case "payloadType":
    case "email":
    case "firstName":
    case "lastName":
      return [...(value as string)].length > 256 ? "too long" : undefined;
    case "metadata":
    case "sessionMetadata":
      return metadataFault(value, 1) ?? (Buffer.byteLength(JSON.stringify(value)) > 65_536 ? "too large" : undefined);
    case "createTime":
    case "createdAfter":
    case "createdBefore":
    case "lastMessageAfter":
    case "lastMessageBefore":
      return timeFault(value as Time, -62_135_596_800, 253_402_300_799);
    case "olderThan":
      return timeFault(value as Time, 0, 315_576_000_000);
    default:
      return undefined;
  }
}

const idFault = (id: string): string | undefined =>
  id.trim() === "" || [...id].length > 256 || /\p{Cc}/u.test(id) ? JSON.stringify(id.slice(0, 80)) : undefined;

interface Time {
  readonly seconds: number;
  readonly nanos: number;
}

const timeFault = ({ seconds, nanos }: Time, from: number, to: number): string | undefined =>
  seconds < from || seconds > to || nanos < 0 || nanos > 999_999_999 ? `${seconds} s, ${nanos} ns` : undefined;

type Expiry = { readonly $case: "expireTime" | "idleTtl"; readonly value: Time };

/** A moment may have passed where nothing is created. */
function expiryFault({ $case, value }: Expiry): string | undefined {
  if ($case === "expireTime") return timeFault(value, -62_135_596_800, 253_402_300_799);
  const isNone = value.seconds === 0 && value.nanos === 0;
  const isTooLong = value.seconds === 3_153_600_000 && value.nanos > 0;
  return isNone || isTooLong ? "none, or too long" : timeFault(value, 0, 3_153_600_000);
}

function metadataFault(value: unknown, depth: number): string | undefined {
  if (typeof value === "number") return Number.isFinite(value) ? undefined : `${value}`;
  if (typeof value !== "object" || value === null) return undefined;
  if (depth > 32) return "too deep";
  return Object.values(value)
    .map((inner) => metadataFault(inner, depth + 1))
    .find((fault) => fault);
}
