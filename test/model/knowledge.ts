/**
 * What has been learned of the values that only the service can know. The rules have a name for each of them; the first answer
 * tells the value, and every later one must agree.
 */
export class Knowledge {
  readonly #values = new Map<string, string | number>();
  readonly #names = new Map<string | number, string>();

  /** The name when the value is the one that was learned for it; else what is wrong, for a readable difference. */
  same(name: string, value: string | number | undefined): string {
    if (value === undefined) return `no ${name}`;
    const known = this.#values.get(name);
    if (known === undefined) this.#values.set(name, value);
    return known === undefined || known === value ? name : `${name} is ${known}, not ${value}`;
  }

  /** As `same`, and no other name may have this value. */
  unique(name: string, value: string): string {
    const other = this.#names.get(value);
    if (other !== undefined && other !== name) return `${name} has the value of ${other}`;
    this.#names.set(value, name);
    return this.same(name, value);
  }

  valueOf(name: string): string | number | undefined {
    return this.#values.get(name);
  }
}
