const NOTHING: Uint8Array = new Uint8Array();

/** Whether the bytes are the same; what is absent is empty. */
export const sameBytes = (a = NOTHING, b = NOTHING): boolean => Buffer.compare(a, b) === 0;
