/** Up to this length V8 copies what is cut out of a text. A longer cutting only points at it, and keeps all of it in memory. */
export const COPIED_LENGTH = 12;

/** The same text without the one that it was cut out of. */
export const copyOf = (cutting: string): string =>
  cutting.length > COPIED_LENGTH ? Buffer.from(cutting, "utf16le").toString("utf16le") : cutting;
