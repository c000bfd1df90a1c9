/**
 * A vector as it is stored: a byte a number, the largest of them 127. Its length is lost, which says nothing where only directions are
 * compared. Undefined for one that has no direction.
 */
export function quantised(vector: Float32Array): Int8Array | undefined {
  const largest = vector.reduce((most, number) => Math.max(most, Math.abs(number)), 0);
  if (largest === 0) return undefined;
  return Int8Array.from(vector, (number) => Math.round((number / largest) * 127));
}

/** How alike what two vectors stand for is, from -1 to 1. `direction` is of length 1. */
export function similarity(direction: Float32Array, stored: Uint8Array): number {
  // The bytes of a document may lie anywhere, and are read where they are.
  const numbers = new Int8Array(stored.buffer, stored.byteOffset, stored.length);
  let product = 0;
  let square = 0;
  for (let place = 0; place < numbers.length; place++) {
    const number = numbers[place] as number;
    product += (direction[place] as number) * number;
    square += number * number;
  }
  return square === 0 ? 0 : product / Math.sqrt(square);
}

/** The vector made 1 long; undefined for one that has no direction. */
export function directionOf(vector: Float32Array): Float32Array | undefined {
  const length = Math.sqrt(vector.reduce((sum, number) => sum + number * number, 0));
  return length > 0 ? vector.map((number) => number / length) : undefined;
}
