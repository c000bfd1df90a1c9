/** BM25's constants: how soon saying a word again counts little more, and how much more the longer have to say it. */
const K1 = 1.2;
const B = 0.75;

/** Adds up, word by word, how well each of a number of things matches a query: BM25 times how many of the words match. */
export class Tally {
  /** What counts as having a word once, in full. */
  readonly #once: number;
  readonly #frequencies: Uint32Array;
  #withWord: number[] = [];
  readonly #scores: Float64Array;
  readonly #matched: Uint32Array;
  readonly #members: number[] = [];

  constructor(size: number, once: number) {
    this.#once = once;
    this.#frequencies = new Uint32Array(size);
    this.#scores = new Float64Array(size);
    this.#matched = new Uint32Array(size);
  }

  /** Those with any of the words so far, in no order. */
  get members(): readonly number[] {
    return this.#members;
  }

  /** How many have the present word. */
  get withWord(): number {
    return this.#withWord.length;
  }

  /** Adds to how often one has the present word: a whole number, so the order does not matter. */
  add(member: number, amount: number): void {
    const frequency = this.#frequencies[member] as number;
    if (frequency === 0) this.#withWord.push(member);
    this.#frequencies[member] = frequency + amount;
  }

  /**
   * Ends the present word.
   * @param among Of how many the word is a word
   * @param having How many of those have it
   * @param lengths How long each is, and how long on average
   */
  endWord(among: number, having: number, lengths: Float64Array | Uint32Array, average: number): void {
    const rarity = Math.log(1 + (among - having + 0.5) / (having + 0.5));
    for (const member of this.#withWord) {
      const frequency = this.#frequencies[member] as number;
      const times = frequency / this.#once;
      const saturated = (times * (K1 + 1)) / (times + K1 * (1 - B + (B * (lengths[member] as number)) / average));
      if (this.#matched[member] === 0) this.#members.push(member);
      this.#scores[member] = (this.#scores[member] as number) + rarity * saturated;
      this.#matched[member] = (this.#matched[member] as number) + Math.min(frequency, this.#once);
      this.#frequencies[member] = 0;
    }
    this.#withWord = [];
  }

  scoreOf(member: number): number {
    return ((this.#scores[member] as number) * (this.#matched[member] as number)) / this.#once;
  }
}
