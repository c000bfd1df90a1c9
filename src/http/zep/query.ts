import { invalidFields, type Violation } from "../../domain/errors.js";

/** The query parameters of a request. All that are no whole numbers are named at once. */
export type Query = Readonly<Record<string, string | readonly string[] | undefined>>;

/** Whole numbers out of the query, 0 where there is none: an empty one counts as none, for zep-python's `user.list` sends such. */
export function integers<Name extends string>(query: Query, ...names: Name[]): Record<Name, number> {
  const violations: Violation[] = [];
  const values = Object.fromEntries(
    names.map((name) => {
      const value = integerIn(query, name);
      if (Number.isNaN(value)) violations.push({ field: name, description: "Not a whole number." });
      return [name, value];
    }),
  ) as Record<Name, number>;
  if (violations.length > 0) throw invalidFields(violations);
  return values;
}

/** The same where the legacy server takes what is no whole number for nothing. */
export function lenientInteger(query: Query, name: string): number {
  return integerIn(query, name) || 0;
}

function integerIn(query: Query, name: string): number {
  const value = query[name];
  const text = typeof value === "string" ? value : value?.[0];
  if (text === undefined || text === "") return 0;
  const number = /^[+-]?\d{1,16}$/.test(text) ? Number(text) : Number.NaN;
  return Number.isSafeInteger(number) ? number : Number.NaN;
}
