/** How much the words count, and the meaning: measured, and hardly different around these. */
const LEXICAL = 0.6;
const DENSE = 0.4;

/**
 * Scores by words and by meaning put together, each by how far it is from what is usual among them. One without a meaning, as it is not
 * embedded yet, is taken for a usual one. Between 0 and 1, larger is better.
 * @param scores By words, and by meaning where that is known
 */
export function fused(scores: readonly { readonly lexical: number; readonly dense: number | undefined }[]): number[] {
  const lexical = standardiser(scores.map((score) => score.lexical));
  const dense = standardiser(scores.flatMap((score) => score.dense ?? []));
  return scores.map((score) => {
    const meaning = score.dense === undefined ? 0 : dense(score.dense);
    return 1 / (1 + Math.exp(-(LEXICAL * lexical(score.lexical) + DENSE * meaning)));
  });
}

/** How many standard deviations a number is from the mean of some. */
function standardiser(numbers: readonly number[]): (number: number) => number {
  const mean = numbers.reduce((sum, number) => sum + number, 0) / numbers.length;
  const variance = numbers.reduce((sum, number) => sum + (number - mean) ** 2, 0) / numbers.length;
  return (number) => (variance > 0 ? (number - mean) / Math.sqrt(variance) : 0);
}
