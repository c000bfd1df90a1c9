/** Words that a sentence needs and that say nothing of what it is about. A longer list finds no more. */
export const STOP_WORDS: ReadonlySet<string> = new Set(
  [
    "a an the this that these those",
    "and or but if so than then as",
    "of to in on at by for from with about into",
    "i me my we our you your he him his she her it its they them their",
    "am is are was were be been being",
    "do does did have has had",
    "will would can could should",
    "what when where which who how",
    "not s t m re ve ll d",
  ].flatMap((line) => line.split(" ")),
);
