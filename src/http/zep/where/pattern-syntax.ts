import { PathFault } from "./path.js";

/** A regular expression, as it was read. */
export type Item =
  /** `work`: how many tests it takes to see whether a character is in it, where those are more than a few. */
  | { readonly kind: "set"; readonly isNegated: boolean; readonly work?: number; has(code: number): boolean }
  | { readonly kind: "assert"; readonly assertion: Assertion }
  | { readonly kind: "sequence" | "either"; readonly items: readonly Item[] }
  | { readonly kind: "repeat"; readonly of: Item; readonly min: number; readonly max: number };

export type Assertion = "begin" | "end" | "textBegin" | "textEnd" | "wordBegin" | "wordEnd" | "wordEdge" | "noWordEdge";

/** As in Postgres. */
const MAX_COUNT = 255;
const MAX_LEVELS = 32;

/**
 * Reads a regular expression of Postgres ("advanced", as they are called there) without what makes matching take long, or cannot be done by
 * looking at one character after the other: no back references, and nothing that looks ahead or behind. Throws PathFault.
 */
export function patternOf(text: string, { dotAll }: { readonly dotAll: boolean }): Item {
  return new Reader(text, dotAll).pattern();
}

class Reader {
  readonly #characters: readonly string[];
  readonly #dotAll: boolean;
  #at = 0;
  #levels = 0;

  constructor(text: string, dotAll: boolean) {
    this.#characters = [...text];
    this.#dotAll = dotAll;
  }

  pattern(): Item {
    const item = this.#either();
    if (this.#at < this.#characters.length) throw this.#fault("a bracket is closed that was not opened");
    return item;
  }

  #either(): Item {
    if (++this.#levels > MAX_LEVELS) throw this.#fault(`more than ${MAX_LEVELS} levels of brackets`);
    const items = [this.#sequence()];
    while (this.#take("|")) items.push(this.#sequence());
    this.#levels--;
    return items.length === 1 ? (items[0] as Item) : { kind: "either", items };
  }

  #sequence(): Item {
    const items: Item[] = [];
    while (this.#at < this.#characters.length && this.#next !== "|" && this.#next !== ")") items.push(this.#repeated());
    return { kind: "sequence", items };
  }

  #repeated(): Item {
    const of = this.#single();
    const range = this.#quantifier();
    if (!range) return of;
    // Whether it takes much or little is all one where nobody asks what was taken.
    this.#take("?");
    if (this.#quantifier()) throw this.#fault("a count of a count");
    return { kind: "repeat", of, ...range };
  }

  #quantifier(): { min: number; max: number } | undefined {
    if (this.#take("*")) return { min: 0, max: Number.POSITIVE_INFINITY };
    if (this.#take("+")) return { min: 1, max: Number.POSITIVE_INFINITY };
    if (this.#take("?")) return { min: 0, max: 1 };
    const rest = this.#characters.slice(this.#at, this.#at + 10).join("");
    const [all, least = "", comma, most = ""] = /^\{(\d{1,3})(,(\d{1,3})?)?\}/.exec(rest) ?? [];
    if (all === undefined) return undefined;
    const min = Number(least);
    const max = comma === undefined ? min : most === "" ? Number.POSITIVE_INFINITY : Number(most);
    if (min > max || min > MAX_COUNT || (max > MAX_COUNT && most !== "")) throw this.#fault(`the count ${all}`);
    this.#at += all.length;
    return { min, max };
  }

  #single(): Item {
    const character = this.#next as string;
    this.#at++;
    switch (character) {
      case "(":
        return this.#group();
      case "[":
        return this.#bracket();
      case ".":
        return this.#dotAll ? ANY : NO_LINE_END;
      case "^":
        return { kind: "assert", assertion: "begin" };
      case "$":
        return { kind: "assert", assertion: "end" };
      case "*":
      case "+":
      case "?":
        throw this.#fault(`${character} with nothing before it`);
      case "\\":
        return this.#escape();
      case "{":
        if (/\d/.test(this.#next ?? "")) throw this.#fault("a count with nothing before it");
        return oneOf(character);
      default:
        return oneOf(character);
    }
  }

  #group(): Item {
    if (this.#take("?")) {
      const kind = this.#next ?? "";
      if (!this.#take(":")) throw this.#fault(`groups that begin with (?${kind} are not taken`);
    }
    const item = this.#either();
    if (!this.#take(")")) throw this.#fault("a bracket is not closed");
    return item;
  }

  #bracket(): Item {
    const isNegated = this.#take("^");
    const tests: ((code: number) => boolean)[] = [];
    for (let isFirst = true; isFirst || this.#next !== "]"; isFirst = false) {
      const from = this.#member();
      const isRange = this.#next === "-" && this.#characters[this.#at + 1] !== "]";
      if (!isRange) {
        tests.push(typeof from === "number" ? (code) => code === from : from);
        continue;
      }
      this.#at++;
      const to = this.#member();
      if (typeof from !== "number" || typeof to !== "number" || from > to) throw this.#fault("a range that is none");
      tests.push((code) => code >= from && code <= to);
    }
    this.#at++;
    const has = (code: number): boolean => tests.some((test) => test(code));
    // What a set leaves out is no line end, unless the dot means those, too.
    const hasThose = isNegated && !this.#dotAll ? (code: number) => code === LINE_END || has(code) : has;
    return { kind: "set", isNegated, work: tests.length, has: hasThose };
  }

  /** A character, or a class of them. */
  #member(): number | ((code: number) => boolean) {
    const character = this.#next;
    if (character === undefined) throw this.#fault("a set is not closed");
    this.#at++;
    if (character === "[" && [":", ".", "="].includes(this.#next ?? "")) {
      const rest = this.#characters.slice(this.#at, this.#at + 12).join("");
      const [all = "", name = ""] = /^:(\w+):\]/.exec(rest) ?? [];
      const test = Object.hasOwn(NAMED, name) ? NAMED[name] : undefined;
      if (!test) throw this.#fault("a class of characters that is not known");
      this.#at += all.length;
      return testing(test);
    }
    if (character !== "\\") return character.codePointAt(0) as number;
    const escaped = this.#escape();
    if (escaped.kind !== "set") throw this.#fault("in a set, an escape that is no character");
    if ("code" in escaped) return escaped.code as number;
    return (code) => escaped.has(code) !== escaped.isNegated;
  }

  #escape(): Item & { readonly code?: number } {
    const character = this.#next;
    if (character === undefined) throw this.#fault("it ends in the midst of an escape");
    this.#at++;
    const assertion = ASSERTIONS[character];
    if (assertion) return { kind: "assert", assertion };
    const classes = CLASSES[character.toLowerCase()];
    if (classes) return { kind: "set", isNegated: character !== character.toLowerCase(), has: testing(classes) };
    const control = CONTROLS[character];
    if (control !== undefined) return oneOf(control);
    if (character === "u" || character === "x") {
      const length = character === "u" ? 4 : 2;
      const digits = this.#characters.slice(this.#at, this.#at + length).join("");
      if (digits.length < length || !/^[\da-fA-F]+$/.test(digits)) throw this.#fault("half an escape");
      this.#at += digits.length;
      return oneOf(String.fromCodePoint(Number.parseInt(digits, 16)));
    }
    if (character === "b") throw this.#fault("\\b is no edge of a word to Postgres: write \\y");
    if (/[\dA-Za-z]/.test(character)) throw this.#fault(`\\${character} is not taken`);
    return oneOf(character);
  }

  get #next(): string | undefined {
    return this.#characters[this.#at];
  }

  #take(character: string): boolean {
    const isIt = this.#next === character;
    if (isIt) this.#at++;
    return isIt;
  }

  #fault(what: string): PathFault {
    return new PathFault(
      `The pattern ${JSON.stringify(this.#characters.slice(0, 40).join(""))} is not taken: ${what}.`,
    );
  }
}

type Set = Extract<Item, { kind: "set" }>;

function oneOf(character: string): Set & { readonly code: number } {
  const code = character.codePointAt(0) as number;
  return { kind: "set", isNegated: false, has: (other) => other === code, code };
}

const testing =
  (test: RegExp) =>
  (code: number): boolean =>
    test.test(String.fromCodePoint(code));

const LINE_END = 10;
const ANY: Set = { kind: "set", isNegated: false, has: () => true };
const NO_LINE_END: Set = { kind: "set", isNegated: true, has: (code) => code === LINE_END };

const ASSERTIONS: Readonly<Record<string, Assertion>> = {
  A: "textBegin",
  Z: "textEnd",
  m: "wordBegin",
  M: "wordEnd",
  y: "wordEdge",
  Y: "noWordEdge",
};

const CLASSES: Readonly<Record<string, RegExp>> = { d: /\p{Nd}/u, w: /[\p{L}\p{N}_]/u, s: /\s/u };

const CONTROLS: Readonly<Record<string, string>> = {
  n: "\n",
  t: "\t",
  r: "\r",
  f: "\f",
  v: "\v",
  a: "\u0007",
  e: "\u001b",
  "0": "\u0000",
};

const NAMED: Readonly<Record<string, RegExp>> = {
  alpha: /\p{L}/u,
  alnum: /[\p{L}\p{N}]/u,
  digit: /\p{Nd}/u,
  lower: /\p{Ll}/u,
  upper: /\p{Lu}/u,
  space: /\s/u,
  blank: /[ \t]/,
  punct: /[\p{P}\p{S}]/u,
  xdigit: /[\dA-Fa-f]/,
  word: /[\p{L}\p{N}_]/u,
  cntrl: /\p{Cc}/u,
  print: /[^\p{C}]/u,
  graph: /[^\p{C}\s]/u,
};
