import { RoleType } from "../../gen/sessions/v1/resources.js";

/** What of a message decides which window it is in. */
export interface Windowed {
  readonly sequence: number;
  readonly roleType: RoleType;
  readonly group: string | undefined;
  /** What it counts where its caller has not counted its tokens. */
  readonly text: readonly Uint8Array[];
  readonly tokenCount: number;
}

export interface Window {
  readonly lastN: number;
  readonly usual: number;
  readonly maxTokens: number;
  readonly start: "any" | "whole tool calls" | "user";
}

export function tokensOf({ tokenCount, text }: Pick<Windowed, "tokenCount" | "text">): number {
  return tokenCount || Math.ceil(text.reduce((sum, { length }) => sum + length, 0) / 4);
}

/** The messages of GetMemory, of all those of a memory, beside a summary of so many tokens that covers those up to a sequence. */
export function windowOf<M extends Windowed>(
  all: readonly M[],
  summary: { readonly tokens: number; readonly recentSequence: number },
  { lastN, usual, maxTokens, start }: Window,
): { messages: M[]; tokens: number } {
  const { tokens, recentSequence } = summary;
  const wanted = lastN > 0 ? all.slice(-lastN) : all.filter(({ sequence }) => sequence > recentSequence).slice(-usual);
  const total = (messages: readonly M[]) => messages.reduce((sum, message) => sum + tokensOf(message), tokens);
  const from = wanted.findIndex((_, index) => maxTokens === 0 || total(wanted.slice(index)) <= maxTokens);
  const messages = begun(from < 0 ? [] : wanted.slice(from), all, start);
  return { messages, tokens: total(messages) };
}

function begun<M extends Windowed>(window: readonly M[], all: readonly M[], start: Window["start"]): M[] {
  if (start === "any") return [...window];
  if (start === "user") {
    const first = window.findIndex(({ roleType }) => roleType === RoleType.ROLE_TYPE_USER);
    return first < 0 ? [] : window.slice(first);
  }
  const isCut = (message: M) =>
    message.group !== undefined &&
    all.some((older) => older.group === message.group && older.sequence < message.sequence && !window.includes(older));
  const isAnswer = ({ roleType }: M) =>
    roleType === RoleType.ROLE_TYPE_TOOL || roleType === RoleType.ROLE_TYPE_FUNCTION;
  const left = window.filter((message, index) => !isCut(message) && !(index === 0 && isAnswer(message)));
  return left.length === window.length ? left : begun(left, all, start);
}
