/** What was measured at a size. */
export interface SizePoint {
  readonly size: number;
  readonly value: number;
}

/**
 * The exponent k of value = c * size^k, by least squares on the logarithms: 0 is flat, 1 grows as the size does.
 * NaN where there are fewer than two sizes, or a value is not above 0.
 */
export function fittedExponent(points: readonly SizePoint[]): number {
  const x = points.map(({ size }) => Math.log(size));
  const y = points.map(({ value }) => Math.log(value));
  const [meanX, meanY] = [mean(x), mean(y)];
  const spread = x.reduce((sum, one) => sum + (one - meanX) ** 2, 0);
  const shared = x.reduce((sum, one, index) => sum + (one - meanX) * (y[index]! - meanY), 0);
  return spread > 0 && Number.isFinite(shared) ? shared / spread : Number.NaN;
}

function mean(list: readonly number[]): number {
  return list.reduce((sum, one) => sum + one, 0) / list.length;
}
