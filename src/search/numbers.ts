const FIRST_PAGE = 128;
const PAGE_BITS = 14;
const PAGE = 1 << PAGE_BITS;
const IN_PAGE = PAGE - 1;

/** A long row of numbers that grows without ever being copied as a whole: that would hold up everything else. */
export class Numbers {
  readonly #pages: Uint32Array[] = [new Uint32Array(FIRST_PAGE)];
  #length = 0;
  #bytes = FIRST_PAGE * Uint32Array.BYTES_PER_ELEMENT;

  get bytes(): number {
    return this.#bytes;
  }

  get(position: number): number {
    return this.#pages[position >>> PAGE_BITS]?.[position & IN_PAGE] ?? 0;
  }

  /** Copies so many into another row, from a place of that on. */
  copy(position: number, count: number, into: Uint32Array, at: number): void {
    for (let copied = 0; copied < count; ) {
      const from = (position + copied) & IN_PAGE;
      const page = this.#pages[(position + copied) >>> PAGE_BITS] as Uint32Array;
      const part = page.subarray(from, Math.min(from + count - copied, page.length));
      into.set(part, at + copied);
      copied += part.length;
    }
  }

  set(position: number, value: number): void {
    const page = this.#pages[position >>> PAGE_BITS];
    if (page) page[position & IN_PAGE] = value;
  }

  /** Makes so many more, all of them 0, and tells where they begin. */
  extend(count: number): number {
    const position = this.#length;
    this.#length += count;
    while (this.#capacity() < this.#length) this.#grow();
    return position;
  }

  #capacity(): number {
    return (this.#pages.length - 1) * PAGE + (this.#pages.at(-1)?.length ?? 0);
  }

  /** The last page doubles until it is a whole one, so that a short row takes little. */
  #grow(): void {
    const last = this.#pages.at(-1);
    const page = new Uint32Array(last && last.length < PAGE ? 2 * last.length : FIRST_PAGE);
    if (last && last.length < PAGE) {
      page.set(last);
      this.#pages[this.#pages.length - 1] = page;
      this.#bytes -= last.byteLength;
    } else this.#pages.push(page);
    this.#bytes += page.byteLength;
  }
}
