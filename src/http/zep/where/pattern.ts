import { PathFault, type TextTest, type Work } from "./path.js";
import { type Assertion, type Item, patternOf } from "./pattern-syntax.js";

/**
 * Tests texts against the regular expressions of Postgres by following all ways through the pattern at once. That takes time in
 * proportion to the text, whatever the pattern: JavaScript's own takes exponential time for some.
 *
 * @param flags `i` ignores case, `s` has the dot match line ends, `m` has ^ and $ match at them, `q` takes the pattern literally
 */
export function likePattern(pattern: string, flags: string): TextTest {
  for (const flag of flags)
    if (!"ismq".includes(flag))
      throw new PathFault(`The flag ${JSON.stringify(flag)} is not taken: there are i, s, m and q.`);
  const item = flags.includes("q") ? literal(pattern) : patternOf(pattern, { dotAll: flags.includes("s") });
  const program = new Program(item);
  const isCaseIgnored = flags.includes("i");
  const isMultiline = flags.includes("m") && !flags.includes("q");
  return (text, work) => new Run(program.instructions, isCaseIgnored, isMultiline).finds(text, work);
}

const literal = (text: string): Item => ({
  kind: "sequence",
  items: [...text].map((character) => {
    const code = character.codePointAt(0) as number;
    return { kind: "set", isNegated: false, has: (other) => other === code };
  }),
});

type Instruction =
  | (Extract<Item, { kind: "set" }> & { readonly next: number })
  | { readonly kind: "assert"; readonly assertion: Assertion; readonly next: number }
  | { readonly kind: "fork"; next: number; other: number }
  | { readonly kind: "end" };

/** With counts written out: a{3} is aaa. */
const MAX_INSTRUCTIONS = 1_000;

class Program {
  readonly instructions: Instruction[] = [];
  /** Also counts what takes no instruction. */
  #emitted = 0;

  constructor(item: Item) {
    this.#emit(item);
    this.#add({ kind: "end" });
  }

  /** Instructions whose `next` is the one behind them. */
  #emit(item: Item): void {
    if (++this.#emitted > 4 * MAX_INSTRUCTIONS) throw tooLarge();
    switch (item.kind) {
      case "set":
        this.#add({ ...item, next: this.#next + 1 });
        return;
      case "assert":
        this.#add({ ...item, next: this.#next + 1 });
        return;
      case "sequence":
        for (const one of item.items) this.#emit(one);
        return;
      case "either": {
        const jumps: { next: number; other: number }[] = [];
        for (const [index, one] of item.items.entries()) {
          const isLast = index === item.items.length - 1;
          const fork = isLast ? undefined : this.#fork();
          this.#emit(one);
          if (fork) {
            jumps.push(this.#fork());
            fork.other = this.#next;
          }
        }
        for (const jump of jumps) {
          jump.next = this.#next;
          jump.other = this.#next;
        }
        return;
      }
      case "repeat": {
        for (let count = 0; count < item.min; count++) this.#emit(item.of);
        if (item.max === Number.POSITIVE_INFINITY) {
          const begin = this.#next;
          const fork = this.#fork();
          this.#emit(item.of);
          const back = this.#fork();
          back.next = begin;
          back.other = begin;
          fork.other = this.#next;
          return;
        }
        const forks: { other: number }[] = [];
        for (let count = item.min; count < item.max; count++) {
          forks.push(this.#fork());
          this.#emit(item.of);
        }
        for (const fork of forks) fork.other = this.#next;
      }
    }
  }

  get #next(): number {
    return this.instructions.length;
  }

  /** Goes on behind itself, and wherever else is still to be said. */
  #fork(): { next: number; other: number } {
    const fork = { kind: "fork" as const, next: this.#next + 1, other: this.#next + 1 };
    this.#add(fork);
    return fork;
  }

  #add(instruction: Instruction): void {
    if (this.#next >= MAX_INSTRUCTIONS) throw tooLarge();
    this.instructions.push(instruction);
  }
}

const tooLarge = () => new PathFault("The pattern is too large, with its counts written out.");

class Run {
  readonly #instructions: readonly Instruction[];
  readonly #isCaseIgnored: boolean;
  readonly #isMultiline: boolean;
  /** At which character an instruction was last reached, so that each is gone on from once a character. */
  readonly #reached: Int32Array;

  constructor(instructions: readonly Instruction[], isCaseIgnored: boolean, isMultiline: boolean) {
    this.#instructions = instructions;
    this.#isCaseIgnored = isCaseIgnored;
    this.#isMultiline = isMultiline;
    this.#reached = new Int32Array(instructions.length).fill(-1);
  }

  /** Whether the pattern matches any part of a text. */
  finds(text: string, work: Work): boolean {
    const codes = Array.from(text, (character) => character.codePointAt(0) as number);
    let ways: number[] = [];
    for (let at = 0; at <= codes.length; at++) {
      const here: number[] = [];
      // A match may begin at any character.
      for (const way of [...ways, 0]) if (this.#reach(way, codes, at, here, work)) return true;
      const code = codes[at];
      ways = code === undefined ? [] : here.flatMap((way) => this.#past(way, code, work));
    }
    return false;
  }

  /** Collects the sets that are to be matched next. true: the end was reached. */
  #reach(from: number, codes: readonly number[], at: number, here: number[], work: Work): boolean {
    const pending = [from];
    for (let way = pending.pop(); way !== undefined; way = pending.pop()) {
      if (this.#reached[way] === at) continue;
      this.#reached[way] = at;
      work.did(1);
      const instruction = this.#instructions[way] as Instruction;
      if (instruction.kind === "end") return true;
      if (instruction.kind === "set") here.push(way);
      else if (instruction.kind === "fork") pending.push(instruction.next, instruction.other);
      else if (this.#holds(instruction.assertion, codes, at)) pending.push(instruction.next);
    }
    return false;
  }

  #past(way: number, code: number, work: Work): number[] {
    const instruction = this.#instructions[way] as Extract<Instruction, { kind: "set" }>;
    work.did((instruction.work ?? 0) / TESTS_A_STEP);
    const isIn = this.#isCaseIgnored ? cases(code).some(instruction.has) : instruction.has(code);
    return isIn !== instruction.isNegated ? [instruction.next] : [];
  }

  #holds(assertion: Assertion, codes: readonly number[], at: number): boolean {
    const isWord = (code: number | undefined): boolean => code !== undefined && WORD.test(String.fromCodePoint(code));
    const before = isWord(codes[at - 1]);
    const after = isWord(codes[at]);
    switch (assertion) {
      case "begin":
        return at === 0 || (this.#isMultiline && codes[at - 1] === LINE_END);
      case "end":
        return at === codes.length || (this.#isMultiline && codes[at] === LINE_END);
      case "textBegin":
        return at === 0;
      case "textEnd":
        return at === codes.length;
      case "wordBegin":
        return !before && after;
      case "wordEnd":
        return before && !after;
      case "wordEdge":
        return before !== after;
      case "noWordEdge":
        return before === after;
    }
  }
}

/** A character, small and large. */
function cases(code: number): number[] {
  const character = String.fromCodePoint(code);
  return [character, character.toLowerCase(), character.toUpperCase()].map((one) => one.codePointAt(0) as number);
}

/** To look at a character costs as much as so many tests of it. */
const TESTS_A_STEP = 8;

const WORD = /[\p{L}\p{N}_]/u;
const LINE_END = 10;
