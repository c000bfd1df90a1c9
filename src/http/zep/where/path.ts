/** A path of Postgres's SQL/JSON path language, as it was read. */
export interface Path {
  /** Strict paths fail where lax ones, which are the rule, take apart arrays or wrap items in them. */
  readonly isStrict: boolean;
  readonly root: Expression | Predicate;
}

/** What yields items. */
export type Expression =
  | { readonly kind: "root" | "current" | "last" }
  | { readonly kind: "literal"; readonly value: null | boolean | number | string }
  | { readonly kind: "sign"; readonly sign: 1 | -1; readonly of: Expression }
  | {
      readonly kind: "arithmetic";
      readonly operator: "+" | "-" | "*" | "/" | "%";
      readonly left: Expression;
      readonly right: Expression;
    }
  | { readonly kind: "steps"; readonly from: Expression | Predicate; readonly steps: readonly Step[] };

export type Step =
  | { readonly kind: "key"; readonly key: string }
  | { readonly kind: "anyKey" | "anyElement" }
  | { readonly kind: "elements"; readonly ranges: readonly Range[] }
  /** What is so many levels below, itself at 0; `last` for the leaves. */
  | { readonly kind: "levels"; readonly from: number | "last"; readonly to: number | "last" }
  | { readonly kind: "method"; readonly method: Method }
  | { readonly kind: "filter"; readonly predicate: Predicate };

export interface Range {
  readonly from: Expression;
  readonly to: Expression | undefined;
}

export const METHODS = ["type", "size", "double", "ceiling", "floor", "abs"] as const;
export type Method = (typeof METHODS)[number];

/** What is true, false or unknown of an item. */
export type Predicate =
  | { readonly kind: "and" | "or"; readonly left: Predicate; readonly right: Predicate }
  | { readonly kind: "not" | "isUnknown"; readonly of: Predicate }
  | { readonly kind: "exists"; readonly of: Expression }
  | {
      readonly kind: "comparison";
      readonly operator: Comparison;
      readonly left: Expression;
      readonly right: Expression;
    }
  | { readonly kind: "startsWith"; readonly of: Expression; readonly start: string }
  | { readonly kind: "likeRegex"; readonly of: Expression; readonly matches: TextTest };

export const COMPARISONS = ["==", "!=", "<", "<=", ">", ">="] as const;
export type Comparison = (typeof COMPARISONS)[number];

/** Whether a text is like a pattern; its work counts. */
export type TextTest = (text: string, work: Work) => boolean;

/** What a filter may cost for one message: it is others' text, and can be made to take for ever. */
export interface Work {
  /** Throws when that was too much. */
  did(steps: number): void;
}

export function isPredicate(node: Expression | Predicate): node is Predicate {
  return PREDICATES.has(node.kind);
}

const PREDICATES: ReadonlySet<string> = new Set<Predicate["kind"]>([
  "and",
  "or",
  "not",
  "isUnknown",
  "exists",
  "comparison",
  "startsWith",
  "likeRegex",
]);

/** What is wrong with a text that is no path, or none that is taken. */
export class PathFault extends Error {}
