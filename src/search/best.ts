/** Keeps the best few of many numbers in a heap with the worst of them on top, so that what is worse is turned away at once. */
export class Best {
  readonly #limit: number;
  readonly #isBetter: (one: number, other: number) => boolean;
  readonly #heap: number[] = [];

  /** `isBetter` is an order in which no two are equal. */
  constructor(limit: number, isBetter: (one: number, other: number) => boolean) {
    this.#limit = limit;
    this.#isBetter = isBetter;
  }

  offer(candidate: number): void {
    if (this.#heap.length < this.#limit) this.#rise(candidate);
    else if (this.#limit > 0 && this.#isBetter(candidate, this.#heap[0] as number)) this.#sink(candidate);
  }

  /** Best first. */
  sorted(): number[] {
    return [...this.#heap].sort((one, other) => (this.#isBetter(one, other) ? -1 : 1));
  }

  #rise(candidate: number): void {
    const heap = this.#heap;
    let at = heap.length;
    heap.push(candidate);
    while (at > 0) {
      const above = (at - 1) >> 1;
      if (!this.#isBetter(heap[above] as number, candidate)) break;
      heap[at] = heap[above] as number;
      at = above;
    }
    heap[at] = candidate;
  }

  /** Takes the place of the worst. */
  #sink(candidate: number): void {
    const heap = this.#heap;
    let at = 0;
    for (;;) {
      let below = 2 * at + 1;
      if (below >= heap.length) break;
      if (below + 1 < heap.length && this.#isBetter(heap[below] as number, heap[below + 1] as number)) below++;
      if (!this.#isBetter(candidate, heap[below] as number)) break;
      heap[at] = heap[below] as number;
      at = below;
    }
    heap[at] = candidate;
  }
}
