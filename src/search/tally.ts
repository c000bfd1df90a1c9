/** BM25's constants: how soon saying a word again counts little more, and how much more the longer have to say it. */
const K1 = 1.2;
const B = 0.75;

/**
 * Adds up, word by word, how well each of a number of things matches a query: BM25 times how many of the words match. It is used again
 * and again, for to make as many numbers anew for each query would take longer than to add them up.
 */
export class Tally {
  /** What counts as having a word once, in full. */
  readonly #once: number;
  #frequencies = new Uint32Array(0);
  #scores = new Float64Array(0);
  #matched = new Uint32Array(0);
  /** Those with the present word, and those with any of the words so far, in no order: so many, of as many as there is room for. */
  #withWord = new Uint32Array(0);
  #members = new Uint32Array(0);
  #withWordCount = 0;
  #memberCount = 0;

  constructor(once: number) {
    this.#once = once;
  }

  /** Forgets what there was, and makes room for so many. */
  begin(size: number): void {
    for (let index = 0; index < this.#withWordCount; index++) this.#frequencies[this.#withWord[index] as number] = 0;
    this.#withWordCount = 0;
    for (let index = 0; index < this.#memberCount; index++) {
      const member = this.#members[index] as number;
      this.#scores[member] = 0;
      this.#matched[member] = 0;
    }
    this.#memberCount = 0;
    if (size <= this.#scores.length) return;
    this.#frequencies = new Uint32Array(size);
    this.#scores = new Float64Array(size);
    this.#matched = new Uint32Array(size);
    this.#withWord = new Uint32Array(size);
    this.#members = new Uint32Array(size);
  }

  /** Those with any of the words so far, in no order. */
  get members(): Uint32Array {
    return this.#members.subarray(0, this.#memberCount);
  }

  /** How many have the present word. */
  get withWord(): number {
    return this.#withWordCount;
  }

  /** Adds to how often one has the present word: a whole number, so the order does not matter. */
  add(member: number, amount: number): void {
    const frequency = this.#frequencies[member] as number;
    if (frequency === 0) this.#withWord[this.#withWordCount++] = member;
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
    const once = this.#once;
    const frequencies = this.#frequencies;
    const scores = this.#scores;
    const matched = this.#matched;
    for (let index = 0; index < this.#withWordCount; index++) {
      const member = this.#withWord[index] as number;
      const frequency = frequencies[member] as number;
      const times = frequency / once;
      const saturated = (times * (K1 + 1)) / (times + K1 * (1 - B + (B * (lengths[member] as number)) / average));
      const before = matched[member] as number;
      if (before === 0) this.#members[this.#memberCount++] = member;
      scores[member] = (scores[member] as number) + rarity * saturated;
      matched[member] = before + (frequency < once ? frequency : once);
      frequencies[member] = 0;
    }
    this.#withWordCount = 0;
  }

  scoreOf(member: number): number {
    return ((this.#scores[member] as number) * (this.#matched[member] as number)) / this.#once;
  }
}
