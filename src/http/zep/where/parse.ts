import {
  COMPARISONS,
  type Comparison,
  type Expression,
  isPredicate,
  METHODS,
  type Path,
  PathFault,
  type Predicate,
  type Range,
  type Step,
} from "./path.js";
import { likePattern } from "./pattern.js";
import { place, type Token, tokensOf } from "./tokens.js";

type Node = Expression | Predicate;

/** No path that a person writes has as many levels of brackets, and each takes some of the stack. */
const MAX_LEVELS = 32;
const MAX_LENGTH = 4_096;
const MAX_TOKENS = 1_000;

/**
 * Reads a path of Postgres's SQL/JSON path language. All of it is taken that Postgres 12 has, but for variables, and but for
 * `.datetime()` and `.keyvalue()`. Throws PathFault.
 */
export function parsePath(text: string): Path {
  if (text.length > MAX_LENGTH) throw new PathFault(`Longer than ${MAX_LENGTH} characters.`);
  const tokens = tokensOf(text);
  if (tokens.length > MAX_TOKENS) throw new PathFault(`More than ${MAX_TOKENS} words and signs.`);
  return new Parser(tokens).path();
}

/** By recursive descent, the loosest operators first. */
class Parser {
  readonly #tokens: readonly Token[];
  #at = 0;
  #levels = 0;
  /** Within how many filters, and within how many brackets of arrays: where `@` and `last` mean something. */
  #filters = 0;
  #subscripts = 0;

  constructor(tokens: readonly Token[]) {
    this.#tokens = tokens;
  }

  path(): Path {
    const isStrict = this.#takeWord("strict");
    if (!isStrict) this.#takeWord("lax");
    const root = this.#or();
    if (this.#next.kind !== "end") throw this.#unexpected();
    return { isStrict, root };
  }

  #or(): Node {
    this.#enter();
    let left = this.#and();
    while (this.#takeSign("||")) {
      left = { kind: "or", left: this.#predicate(left), right: this.#predicate(this.#and()) };
    }
    this.#levels--;
    return left;
  }

  #and(): Node {
    let left = this.#not();
    while (this.#takeSign("&&")) {
      left = { kind: "and", left: this.#predicate(left), right: this.#predicate(this.#not()) };
    }
    return left;
  }

  #not(): Node {
    if (!this.#takeSign("!")) return this.#comparison();
    const exists = this.#exists();
    if (exists) return { kind: "not", of: exists };
    this.#expect("(");
    return { kind: "not", of: this.#predicateUpTo(")") };
  }

  #exists(): Predicate | undefined {
    if (!this.#takeWord("exists")) return undefined;
    this.#expect("(");
    const of = this.#expression(this.#or());
    this.#expect(")");
    return { kind: "exists", of };
  }

  #comparison(): Node {
    const exists = this.#exists();
    if (exists) return exists;
    const left = this.#sum();
    if (isPredicate(left)) {
      if (!this.#takeWord("is")) return left;
      if (!this.#takeWord("unknown")) throw this.#unexpected();
      return { kind: "isUnknown", of: left };
    }
    const operator = this.#takeComparison();
    if (operator) return { kind: "comparison", operator, left, right: this.#expression(this.#sum()) };
    if (this.#takeWord("starts")) {
      if (!this.#takeWord("with")) throw this.#unexpected();
      return { kind: "startsWith", of: left, start: this.#string() };
    }
    if (!this.#takeWord("like_regex")) return left;
    const pattern = this.#string();
    const flags = this.#takeWord("flag") ? this.#string() : "";
    return { kind: "likeRegex", of: left, matches: likePattern(pattern, flags) };
  }

  #sum(): Node {
    let left = this.#product();
    for (let operator = this.#takeOneOf("+", "-"); operator; operator = this.#takeOneOf("+", "-")) {
      const right = this.#expression(this.#product());
      left = { kind: "arithmetic", operator, left: this.#expression(left), right };
    }
    return left;
  }

  #product(): Node {
    let left = this.#signed();
    for (let operator = this.#takeOneOf("*", "/", "%"); operator; operator = this.#takeOneOf("*", "/", "%")) {
      left = { kind: "arithmetic", operator, left: this.#expression(left), right: this.#expression(this.#signed()) };
    }
    return left;
  }

  #signed(): Node {
    const sign = this.#takeOneOf("+", "-");
    if (!sign) return this.#accessed();
    this.#enter();
    const of = this.#expression(this.#signed());
    this.#levels--;
    return { kind: "sign", sign: sign === "-" ? -1 : 1, of };
  }

  #accessed(): Node {
    const from = this.#primary();
    const steps: Step[] = [];
    for (let step = this.#step(); step; step = this.#step()) steps.push(step);
    return steps.length === 0 ? from : { kind: "steps", from, steps };
  }

  #primary(): Node {
    const token = this.#next;
    if (this.#takeSign("(")) {
      const inner = this.#or();
      this.#expect(")");
      return inner;
    }
    if (this.#takeSign("$")) {
      const { kind, at } = this.#next;
      const isVariable = (kind === "word" || kind === "string") && at === token.at + 1;
      if (isVariable) throw new PathFault(`Variables are not taken (${place(token.at)}).`);
      return { kind: "root" };
    }
    if (this.#takeSign("@")) {
      if (this.#filters === 0) throw new PathFault(`@ is for filters, ? (…), alone (${place(token.at)}).`);
      return { kind: "current" };
    }
    if (token.kind === "string") return { kind: "literal", value: this.#string() };
    if (token.kind === "number") {
      this.#at++;
      return { kind: "literal", value: Number(token.text) };
    }
    if (token.kind === "word" && LITERALS.has(token.text)) {
      this.#at++;
      return { kind: "literal", value: LITERALS.get(token.text) as null | boolean };
    }
    if (this.#takeWord("last")) {
      if (this.#subscripts === 0) throw new PathFault(`"last" is for array subscripts alone (${place(token.at)}).`);
      return { kind: "last" };
    }
    throw this.#unexpected();
  }

  #step(): Step | undefined {
    if (this.#takeSign("?")) {
      this.#expect("(");
      this.#filters++;
      const predicate = this.#predicateUpTo(")");
      this.#filters--;
      return { kind: "filter", predicate };
    }
    if (this.#takeSign("[")) return this.#subscript();
    const { kind, text } = this.#next;
    // The tokens take ".5" for a number, which no key is.
    if (kind === "number" && text.startsWith(".")) throw this.#unexpected();
    if (!this.#takeSign(".")) return undefined;
    if (this.#takeSign("**")) return this.#levelsBelow();
    if (this.#takeSign("*")) return { kind: "anyKey" };
    const key = this.#next;
    if (key.kind !== "word" && key.kind !== "string") throw this.#unexpected();
    this.#at++;
    if (key.kind === "string" || !this.#takeSign("(")) return { kind: "key", key: key.text };
    const method = METHODS.find((one) => one === key.text);
    if (!method) throw new PathFault(`The method .${key.text}() is not taken (${place(key.at)}).`);
    this.#expect(")");
    return { kind: "method", method };
  }

  #subscript(): Step {
    if (this.#takeSign("*")) {
      this.#expect("]");
      return { kind: "anyElement" };
    }
    const ranges: Range[] = [];
    this.#subscripts++;
    do {
      const from = this.#expression(this.#sum());
      ranges.push({ from, to: this.#takeWord("to") ? this.#expression(this.#sum()) : undefined });
    } while (this.#takeSign(","));
    this.#subscripts--;
    this.#expect("]");
    return { kind: "elements", ranges };
  }

  #levelsBelow(): Step {
    if (!this.#takeSign("{")) return { kind: "levels", from: 0, to: "last" };
    const level = (): number | "last" => {
      if (this.#takeWord("last")) return "last";
      const { kind, text } = this.#next;
      if (kind !== "number" || !/^\d+$/.test(text)) throw this.#unexpected();
      this.#at++;
      return Number(text);
    };
    const from = level();
    const to = this.#takeWord("to") ? level() : from;
    this.#expect("}");
    return { kind: "levels", from, to };
  }

  #predicateUpTo(end: string): Predicate {
    const predicate = this.#predicate(this.#or());
    this.#expect(end);
    return predicate;
  }

  #predicate(node: Node): Predicate {
    if (!isPredicate(node)) throw new PathFault(`A condition is missing before ${this.#here}.`);
    return node;
  }

  #expression(node: Node): Expression {
    if (isPredicate(node)) throw new PathFault(`A condition stands where a value should, before ${this.#here}.`);
    return node;
  }

  get #next(): Token {
    return this.#tokens[this.#at] as Token;
  }

  #takeSign(text: string): boolean {
    const isIt = this.#next.kind === "sign" && this.#next.text === text;
    if (isIt) this.#at++;
    return isIt;
  }

  #takeWord(text: string): boolean {
    const isIt = this.#next.kind === "word" && this.#next.text.toLowerCase() === text;
    if (isIt) this.#at++;
    return isIt;
  }

  #takeOneOf<Sign extends string>(...signs: Sign[]): Sign | undefined {
    return signs.find((sign) => this.#takeSign(sign));
  }

  #takeComparison(): Comparison | undefined {
    return this.#takeSign("<>") ? "!=" : this.#takeOneOf(...COMPARISONS);
  }

  #string(): string {
    const token = this.#next;
    if (token.kind !== "string") throw this.#unexpected();
    this.#at++;
    return token.text;
  }

  #expect(sign: string): void {
    if (!this.#takeSign(sign)) throw new PathFault(`${JSON.stringify(sign)} is missing before ${this.#here}.`);
  }

  #enter(): void {
    if (++this.#levels > MAX_LEVELS) throw new PathFault(`More than ${MAX_LEVELS} levels of brackets or signs.`);
  }

  #unexpected(): PathFault {
    return new PathFault(`Not understood: ${this.#here}.`);
  }

  get #here(): string {
    const { kind, text, at } = this.#next;
    return kind === "end" ? "its end" : `${JSON.stringify(text.slice(0, 40))} ${place(at)}`;
  }
}

const LITERALS: ReadonlyMap<string, null | boolean> = new Map([
  ["null", null],
  ["true", true],
  ["false", false],
]);
