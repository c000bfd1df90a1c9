/**
 * The form in which texts are compared: without case, accents and other ways to write the same. Nothing here depends on the
 * locale of the process.
 */
export function fold(text: string): string {
  if (ASCII.test(text)) return text.toLowerCase();
  // Decomposed, so that the accents can be dropped; composed again, as Hangul and kana are taken apart as well.
  return text
    .replace(MANY_MARKS, "$1")
    .normalize("NFKD")
    .toLowerCase()
    .replace(MARKS, "")
    .normalize("NFC")
    .replace(LETTERS, (letter) => PLAIN[letter] ?? letter);
}

export const ASCII = /^\p{ASCII}*$/u;

/** More than any language puts on one letter. The time to put marks into their order grows with the square of their number. */
const MANY_MARKS = /(\p{M}{10})\p{M}+/gu;

/**
 * What is written above, below and between the letters of Latin, Greek, Cyrillic, Hebrew, Arabic and Syriac, and what only says
 * how to show a character. Not the marks of other scripts: those are vowels there, or make another letter.
 */
const MARKS = new RegExp(
  `[${[
    "\\u0300-\\u036f\\u0483-\\u0489\\u1ab0-\\u1aff\\u1dc0-\\u1dff\\u20d0-\\u20ff\\ufe20-\\ufe2f", // Latin, Greek, Cyrillic
    "\\u0591-\\u05bd\\u05bf\\u05c1\\u05c2\\u05c4\\u05c5\\u05c7", // Hebrew
    "\\u0610-\\u061a\\u0640\\u064b-\\u065f\\u0670\\u06d6-\\u06dc\\u06df-\\u06e8\\u06ea-\\u06ed", // Arabic
    "\\u0711\\u0730-\\u074a", // Syriac
    "\\u00ad\\u200b-\\u200d\\u2060\\ufe00-\\ufe0f\\ufeff", // hyphenation, joining, style
  ].join("")}]`,
  "gu",
);

/** Letters that no decomposition makes plain. */
const PLAIN: Readonly<Record<string, string>> = {
  ß: "ss",
  æ: "ae",
  œ: "oe",
  ø: "o",
  ł: "l",
  đ: "d",
  ð: "d",
  þ: "th",
  ħ: "h",
  ŧ: "t",
  ı: "i",
  ς: "σ",
  ى: "ي",
  ة: "ه",
  ک: "ك",
  ی: "ي",
  "’": "'",
  "‘": "'",
  ʼ: "'",
};
const LETTERS = new RegExp(`[${Object.keys(PLAIN).join("")}]`, "gu");
