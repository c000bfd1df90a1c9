import { hasKey, isObject, type JsonValue } from "../../../domain/json.js";
import {
  type Comparison,
  type Expression,
  isPredicate,
  type Method,
  type Path,
  type Predicate,
  type Range,
  type Step,
  type Work,
} from "./path.js";

/**
 * Whether a path finds anything in a document, as Postgres's jsonb_path_exists has it, silent: what fails finds nothing.
 */
export function exists({ isStrict, root }: Path, document: JsonValue, work: Work): boolean {
  const evaluation = new Evaluation(isStrict, document, work);
  return fitting(() => evaluation.hasItems(root, { current: document, last: 0, isLenient: false })) === true;
}

/** What an item is asked for that it does not have. A condition in which that happens is unknown. */
class Unfit extends Error {}
const UNFIT = new Unfit("an item does not fit what is done with it");

/** undefined: unknown. */
type Truth = boolean | undefined;

interface Scope {
  /** `@` */
  readonly current: JsonValue;
  /** The last subscript of the array that is being taken from. */
  readonly last: number;
  /** Below `**` things that some items lack are passed over, in strict paths too. */
  readonly isLenient: boolean;
}

/** Items are found one by one, for in a lax path what comes behind the one that was wanted does not count, not even a failure. */
class Evaluation {
  readonly #isStrict: boolean;
  readonly #document: JsonValue;
  readonly #work: Work;

  constructor(isStrict: boolean, document: JsonValue, work: Work) {
    this.#isStrict = isStrict;
    this.#document = document;
    this.#work = work;
  }

  hasItems(node: Expression | Predicate, scope: Scope): boolean {
    const items = this.#items(node, scope);
    return this.#isStrict ? [...items].length > 0 : items.next().done !== true;
  }

  *#items(node: Expression | Predicate, scope: Scope): Generator<JsonValue, undefined> {
    this.#work.did(1);
    if (isPredicate(node)) {
      yield this.#truthOf(node, scope) ?? null;
      return;
    }
    switch (node.kind) {
      case "root":
        yield this.#document;
        return;
      case "current":
        yield scope.current;
        return;
      case "last":
        yield scope.last;
        return;
      case "literal":
        yield node.value;
        return;
      case "sign":
        for (const item of this.#unwrapped(node.of, scope)) yield node.sign * numeric(item);
        return;
      case "arithmetic":
        yield calculated(node.operator, this.#number(node.left, scope), this.#number(node.right, scope));
        return;
      case "steps":
        for (const item of this.#items(node.from, scope)) yield* this.#follow(node.steps, 0, item, scope);
    }
  }

  *#follow(steps: readonly Step[], at: number, item: JsonValue, scope: Scope): Generator<JsonValue, undefined> {
    // What is found passes through all that came before.
    this.#work.did(at);
    const step = steps[at];
    if (!step) {
      yield item;
      return;
    }
    const after = step.kind === "levels" ? { ...scope, isLenient: true } : scope;
    for (const next of this.#take(step, item, scope, !this.#isStrict)) yield* this.#follow(steps, at + 1, next, after);
  }

  /** @param unwraps Whether an array stands for its elements, where only those can be meant */
  *#take(step: Step, item: JsonValue, scope: Scope, unwraps: boolean): Generator<JsonValue, undefined> {
    this.#work.did(1);
    if (unwraps && Array.isArray(item) && !TAKES_ARRAYS.has(step.kind) && !isOfAny(step)) {
      for (const element of item) yield* this.#take(step, element, scope, false);
      return;
    }
    switch (step.kind) {
      case "key":
        if (isObject(item) && hasKey(item, step.key)) yield item[step.key] as JsonValue;
        else this.#lacks(scope);
        return;
      case "anyKey":
        if (isObject(item)) yield* Object.values(item);
        else this.#lacks(scope);
        return;
      case "anyElement":
        if (Array.isArray(item)) yield* item;
        else if (this.#isStrict) this.#lacks(scope);
        else yield item;
        return;
      case "elements":
        yield* this.#elements(step.ranges, item, scope);
        return;
      case "levels":
        if (step.from !== "last" || step.to === "last") yield* this.#below(item, 0, step);
        return;
      case "method":
        if (step.method === "size" && !Array.isArray(item) && this.#isStrict) this.#lacks(scope);
        yield applied(step.method, item);
        return;
      case "filter":
        if (this.#truthOf(step.predicate, { ...scope, current: item }) === true) yield item;
    }
  }

  /** What is not there is nothing in a lax path, and in a strict one a failure. */
  #lacks({ isLenient }: Scope): void {
    if (this.#isStrict && !isLenient) throw UNFIT;
  }

  *#elements(ranges: readonly Range[], item: JsonValue, scope: Scope): Generator<JsonValue, undefined> {
    if (!Array.isArray(item) && this.#isStrict) {
      this.#lacks(scope);
      return;
    }
    const array = Array.isArray(item) ? item : [item];
    const within = { ...scope, last: array.length - 1 };
    for (const { from, to } of ranges) {
      const first = Math.trunc(this.#number(from, within));
      const end = to ? Math.trunc(this.#number(to, within)) : first;
      if (first < 0 || first > end || end >= array.length) this.#lacks(scope);
      yield* array.slice(Math.max(first, 0), Math.max(end + 1, 0));
    }
  }

  *#below(
    item: JsonValue,
    level: number,
    { from, to }: Extract<Step, { kind: "levels" }>,
  ): Generator<JsonValue, undefined> {
    this.#work.did(1 + level);
    const isLeaf = item === null || typeof item !== "object";
    if (from === "last" ? isLeaf : level >= from) yield item;
    if (isLeaf || (to !== "last" && level >= to)) return;
    for (const inner of Object.values(item)) yield* this.#below(inner, level + 1, { kind: "levels", from, to });
  }

  #truthOf(predicate: Predicate, scope: Scope): Truth {
    this.#work.did(1);
    switch (predicate.kind) {
      case "and": {
        const left = this.#truthOf(predicate.left, scope);
        if (left === false) return false;
        const right = this.#truthOf(predicate.right, scope);
        return right === true ? left : right;
      }
      case "or": {
        const left = this.#truthOf(predicate.left, scope);
        if (left === true) return true;
        const right = this.#truthOf(predicate.right, scope);
        return right === false ? left : right;
      }
      case "not": {
        const truth = this.#truthOf(predicate.of, scope);
        return truth === undefined ? undefined : !truth;
      }
      case "isUnknown":
        return this.#truthOf(predicate.of, scope) === undefined;
      case "exists":
        return fitting(() => this.hasItems(predicate.of, scope));
      case "comparison":
        return fitting(() => {
          const left = this.#unwrapped(predicate.left, scope);
          const right = this.#unwrapped(predicate.right, scope);
          return this.#anyOf(left, (item) =>
            this.#anyOf(right, (other) => {
              if (typeof item === "string" && typeof other === "string") {
                this.#work.did((item.length + other.length) / CHARACTERS_A_STEP);
              }
              return compared(predicate.operator, item, other);
            }),
          );
        });
      case "startsWith":
        return this.#anyText(predicate.of, scope, (text) => text.startsWith(predicate.start));
      case "likeRegex":
        return this.#anyText(predicate.of, scope, (text) => predicate.matches(text, this.#work));
    }
  }

  #anyText(of: Expression, scope: Scope, test: (text: string) => boolean): Truth {
    return fitting(() =>
      this.#anyOf(this.#unwrapped(of, scope), (item) => (typeof item === "string" ? test(item) : undefined)),
    );
  }

  /** Whether something is true of any item. In a strict path it has to be known of each. */
  #anyOf(items: readonly JsonValue[], test: (item: JsonValue) => Truth): Truth {
    let isFound = false;
    let isUnknown = false;
    for (const item of items) {
      this.#work.did(1);
      const truth = test(item);
      if (truth === true) {
        if (!this.#isStrict) return true;
        isFound = true;
      } else if (truth === undefined) {
        if (this.#isStrict) return undefined;
        isUnknown = true;
      }
    }
    return isFound || (isUnknown ? undefined : false);
  }

  /** All items, in a lax path with the elements of arrays in their place. */
  #unwrapped(expression: Expression, scope: Scope): readonly JsonValue[] {
    const items = [...this.#items(expression, scope)];
    if (this.#isStrict) return items;
    const all = items.flat();
    this.#work.did(all.length);
    return all;
  }

  #number(expression: Expression, scope: Scope): number {
    const items = this.#unwrapped(expression, scope);
    if (items.length !== 1) throw UNFIT;
    return numeric(items[0] as JsonValue);
  }
}

/** So many characters of texts are compared in the time of a step. */
const CHARACTERS_A_STEP = 256;

/** Steps that are about arrays themselves. */
const TAKES_ARRAYS: ReadonlySet<Step["kind"]> = new Set(["anyElement", "elements", "levels"]);

const isOfAny = (step: Step): boolean => step.kind === "method" && (step.method === "type" || step.method === "size");

function fitting(test: () => Truth): Truth {
  try {
    return test();
  } catch (error) {
    if (error instanceof Unfit) return undefined;
    throw error;
  }
}

function numeric(item: JsonValue): number {
  if (typeof item !== "number") throw UNFIT;
  return item;
}

function calculated(operator: "+" | "-" | "*" | "/" | "%", left: number, right: number): number {
  if ((operator === "/" || operator === "%") && right === 0) throw UNFIT;
  switch (operator) {
    case "+":
      return left + right;
    case "-":
      return left - right;
    case "*":
      return left * right;
    case "/":
      return left / right;
    case "%":
      return left % right;
  }
}

function applied(method: Method, item: JsonValue): JsonValue {
  switch (method) {
    case "type":
      return item === null ? "null" : Array.isArray(item) ? "array" : typeof item;
    case "size":
      return Array.isArray(item) ? item.length : 1;
    case "double": {
      const number = typeof item === "string" && item.trim() !== "" ? Number(item) : numeric(item);
      if (!Number.isFinite(number)) throw UNFIT;
      return number;
    }
    case "ceiling":
      return Math.ceil(numeric(item));
    case "floor":
      return Math.floor(numeric(item));
    case "abs":
      return Math.abs(numeric(item));
  }
}

/** Values of different types cannot be compared, but null is unlike all else; nor can objects and arrays. */
function compared(operator: Comparison, left: JsonValue, right: JsonValue): Truth {
  if (left === null || right === null) {
    if (left !== right) return operator === "!=";
    return decided(operator, 0);
  }
  if (typeof left !== typeof right || typeof left === "object") return undefined;
  if (left === right) return decided(operator, 0);
  if (typeof left === "string")
    return decided(operator, Buffer.compare(Buffer.from(left), Buffer.from(right as string)));
  return decided(operator, Number(left) - Number(right));
}

function decided(operator: Comparison, order: number): boolean {
  switch (operator) {
    case "==":
      return order === 0;
    case "!=":
      return order !== 0;
    case "<":
      return order < 0;
    case "<=":
      return order <= 0;
    case ">":
      return order > 0;
    case ">=":
      return order >= 0;
  }
}
