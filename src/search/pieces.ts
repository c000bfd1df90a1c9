/** How much of a text is analyzed at once: a millisecond as a rule, ten where every character is a term that nobody had before. */
const PIECE = 1_024;

/** How far before the end of a piece a space is looked for to cut at. */
const MARGIN = 256;

/** A text in pieces that no word reaches across, unless it is longer than any word. The same text has the same pieces, always. */
export function* piecesOf(text: string): Generator<string> {
  let begin = 0;
  while (text.length - begin > PIECE) {
    const end = cutBefore(text, begin + PIECE);
    yield text.slice(begin, end);
    begin = end;
  }
  yield text.slice(begin);
}

function cutBefore(text: string, end: number): number {
  for (let cut = end; cut > end - MARGIN; cut--) if (SPACE.test(text.charAt(cut - 1))) return cut;
  return isLowSurrogate(text.charCodeAt(end)) ? end - 1 : end;
}

const SPACE = /\s/;

const isLowSurrogate = (code: number): boolean => code >= 0xdc00 && code <= 0xdfff;
