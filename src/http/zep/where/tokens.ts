import { PathFault } from "./path.js";

export type Token =
  | { readonly kind: "sign"; readonly text: string; readonly at: number }
  | { readonly kind: "word"; readonly text: string; readonly at: number }
  | { readonly kind: "string"; readonly text: string; readonly at: number }
  | { readonly kind: "number"; readonly text: string; readonly at: number }
  | { readonly kind: "end"; readonly text: ""; readonly at: number };

/** The tokens of a path, with an end behind them. Throws PathFault. */
export function tokensOf(path: string): Token[] {
  const tokens: Token[] = [];
  let at = 0;
  const take = (pattern: RegExp): string | undefined => {
    pattern.lastIndex = at;
    return pattern.exec(path)?.[0];
  };
  while (at < path.length) {
    const space = take(SPACE);
    if (space !== undefined) {
      at += space.length;
      continue;
    }
    const sign = take(SIGN);
    const number = take(NUMBER);
    const word = take(WORD);
    const quoted = take(STRING);
    if (number !== undefined) {
      if (/[\p{L}\p{N}_$]/u.test(path.charAt(at + number.length))) throw new PathFault(`No number ${place(at)}.`);
      tokens.push({ kind: "number", text: number, at });
      at += number.length;
    } else if (quoted !== undefined) {
      tokens.push({ kind: "string", text: unescaped(quoted.slice(1, -1), at), at });
      at += quoted.length;
    } else if (word !== undefined) {
      tokens.push({ kind: "word", text: word, at });
      at += word.length;
    } else if (sign !== undefined) {
      tokens.push({ kind: "sign", text: sign, at });
      at += sign.length;
    } else if (/["']/.test(path.charAt(at))) {
      throw new PathFault(`A string that does not end begins ${place(at)}.`);
    } else {
      throw new PathFault(`Nothing can begin with ${JSON.stringify(path.charAt(at))} ${place(at)}.`);
    }
  }
  tokens.push({ kind: "end", text: "", at });
  return tokens;
}

export const place = (at: number): string => `at character ${at + 1}`;

const SPACE = /[ \t\n\r\f\v]+|\/\*.*?\*\//sy;
const SIGN = /\*\*|&&|\|\||==|!=|<>|<=|>=|[$@.?()[\]{},*+\-/%<>!]/y;
const NUMBER = /(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?/y;
/** Keys may be written without quotes when they look like a name. */
const WORD = /[\p{L}_][\p{L}\p{M}\p{N}_]*/uy;
/** The legacy server took single quotes for double ones. */
const STRING = /"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'/sy;

function unescaped(text: string, at: number): string {
  return text.replace(/\\(?:u\{([\dA-Fa-f]{1,6})\}|u([\dA-Fa-f]{4})|x([\dA-Fa-f]{2})|(.))/gs, (_, ...parts) => {
    const [braced, four, two, one] = parts as (string | undefined)[];
    const hex = braced ?? four ?? two;
    if (hex !== undefined) {
      const code = Number.parseInt(hex, 16);
      if (code > 0x10ffff) throw new PathFault(`No character \\u{${hex}} in the string ${place(at)}.`);
      return String.fromCodePoint(code);
    }
    if (one === "u" || one === "x") throw new PathFault(`Half an escape in the string ${place(at)}.`);
    return ESCAPES[one as string] ?? (one as string);
  });
}

const ESCAPES: Readonly<Record<string, string>> = { b: "\b", f: "\f", n: "\n", r: "\r", t: "\t", v: "\v" };
