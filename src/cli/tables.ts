import Table from "cli-table3";
import type {
  ErasureReceipt,
  JsonObject,
  Key,
  Message,
  SearchResult,
  Session,
  Summary,
  WatchEvent,
} from "../client/index.js";

/** Resources as people read them. */

const PLAIN = { style: { head: [], border: [], compact: true } };

const METADATA_WIDTH = 48;
const CONTENT_WIDTH = 80;

export function sessionsTable(sessions: readonly Session[], withDeletion: boolean): string {
  const head = ["SESSION", "USER", "MESSAGES", "CREATED", "LAST MESSAGE", "METADATA"];
  const table = new Table({ ...PLAIN, head: withDeletion ? [...head, "DELETED"] : head });
  for (const session of sessions) {
    const row = [
      printable(session.sessionId),
      printable(session.userId ?? ""),
      { content: String(session.messageCount), hAlign: "right" as const },
      time(session.createTime),
      time(session.lastMessageTime),
      shortened(metadata(session.metadata), METADATA_WIDTH),
    ];
    table.push(withDeletion ? [...row, time(session.deleteTime)] : row);
  }
  return `${table.toString()}\n`;
}

export function sessionDetails(session: Session, summary: Summary | undefined): string {
  const table = new Table(PLAIN);
  const rows: [string, string][] = [
    ["session", printable(session.sessionId)],
    ["user", printable(session.userId ?? "")],
    ["metadata", metadata(session.metadata)],
    ["messages", String(session.messageCount)],
    ["created", time(session.createTime)],
    ["updated", time(session.updateTime)],
    ["last message", time(session.lastMessageTime)],
    ["expires", time(session.expiresAt)],
    [
      "forked from",
      session.forkedFrom ? `${printable(session.forkedFrom.sessionId)} up to #${session.forkedFrom.sequence}` : "",
    ],
    ...(summary ? ([["summary", printable(summary.content)]] as [string, string][]) : []),
  ];
  for (const [name, value] of rows) if (value !== "") table.push([name, value]);
  return `${table.toString()}\n`;
}

export function searchTable(results: readonly SearchResult[]): string {
  const table = new Table({ ...PLAIN, head: ["SCORE", "SESSION", "#", "MADE", "SPEAKER", "MESSAGE"] });
  for (const { message, score } of results) {
    table.push([
      { content: score === 0 ? "" : score.toFixed(2), hAlign: "right" as const },
      printable(message.sessionId),
      { content: String(message.sequence), hAlign: "right" as const },
      time(message.createTime),
      printable(speakerOf(message)),
      shortened(printable(message.content.replaceAll(/\s+/g, " ")), CONTENT_WIDTH),
    ]);
  }
  return `${table.toString()}\n`;
}

export function keysTable(keys: readonly Key[]): string {
  const table = new Table({ ...PLAIN, head: ["KEY", "NAME", "ROLE", "USER", "CREATED", "EXPIRES", "REVOKED"] });
  for (const key of keys) {
    table.push([
      key.keyId,
      printable(key.name),
      key.role ?? "",
      printable(key.userId ?? ""),
      time(key.createTime),
      time(key.expireTime),
      time(key.revokeTime),
    ]);
  }
  return `${table.toString()}\n`;
}

export function erasuresTable(receipts: readonly ErasureReceipt[]): string {
  const head = ["SHA-256 OF USER", "SESSIONS", "MESSAGES", "ENDED", "REQUESTED BY", "REQUEST"];
  const table = new Table({ ...PLAIN, head });
  for (const receipt of receipts) {
    table.push([
      receipt.userIdSha256,
      { content: String(receipt.purgedSessions), hAlign: "right" as const },
      { content: String(receipt.purgedMessages), hAlign: "right" as const },
      time(receipt.endTime),
      printable(receipt.requestedBy),
      printable(receipt.requestId),
    ]);
  }
  return `${table.toString()}\n`;
}

export function messageText(message: Message): string {
  const head = [`#${message.sequence}`, time(message.createTime), printable(speakerOf(message))];
  const lines = [head.join("  ").trimEnd()];
  if (message.content !== "") lines.push(indented(printable(message.content)));
  if (message.payload)
    lines.push(`  [payload: ${message.payload.length} bytes ${printable(message.payloadType ?? "")}]`);
  if (Object.keys(message.metadata).length > 0) lines.push(`  ${metadata(message.metadata)}`);
  return `${lines.join("\n")}\n`;
}

export function eventText({ type, sessionId = "", messages, messageIds, eventTime }: WatchEvent): string {
  const what = (type ?? "").replaceAll(/[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`);
  const there = new Set(messages.map(({ messageId }) => messageId));
  const others = messageIds.filter((id) => !there.has(id)).map(printable);
  const head = [time(eventTime), what, printable(sessionId), others.join(" ")].join("  ").trimEnd();
  return [`${head}\n`, ...messages.map((message) => indented(messageText(message).trimEnd()).concat("\n"))].join("");
}

function speakerOf({ role, roleType }: Message): string {
  const kind = roleType && roleType !== role ? roleType : "";
  return [role, kind && role ? `(${kind})` : kind].filter((part) => part !== "").join(" ");
}

const time = (date: Date | undefined): string =>
  date
    ?.toISOString()
    .replace(/\.\d+Z$/, "Z")
    .replace("T", " ") ?? "";

const metadata = (object: JsonObject): string =>
  Object.keys(object).length === 0 ? "" : printable(JSON.stringify(object));

const indented = (text: string): string => text.replaceAll(/^/gm, "  ");

const shortened = (text: string, width: number): string =>
  text.length <= width ? text : `${text.slice(0, width - 1)}…`;

/** Text of others must not steer the terminal: control characters but tabs and line ends are shown, not sent. */
export const printable = (text: string): string =>
  text.replaceAll(/(?![\n\t])\p{Cc}/gu, (character) => `\\x${character.charCodeAt(0).toString(16).padStart(2, "0")}`);
