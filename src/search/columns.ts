type Column = Int32Array | Uint32Array | Float64Array | Uint16Array | Uint8Array;

/** The same array with room for more, which is 0. */
export function longer<T extends Column>(column: T, length: number): T {
  const longer = new (column.constructor as new (length: number) => T)(length);
  longer.set(column);
  return longer;
}
