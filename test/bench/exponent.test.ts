import tap from 'tap';
import { fittedExponent } from '../../bench/exponent.ts';

const SIZES = [1e6, 5e6, 2e7, 5e7];
const points = (value: (size: number) => number) => SIZES.map((size) => ({ size, value: value(size) }));

await tap.test('finds the exponent of a power, whatever its factor', async (t) => {
  for (const exponent of [0, 0.5, 1, -0.25])
    for (const factor of [0.001, 1, 700])
      t.ok(Math.abs(fittedExponent(points((size) => factor * size ** exponent)) - exponent) < 1e-9);
});

await tap.test('a logarithm is a small exponent', async (t) => {
  const exponent = fittedExponent(points((size) => Math.log2(size)));
  t.ok(exponent > 0.05 && exponent < 0.07, String(exponent));
});

await tap.test('is no number where nothing can be fitted', async (t) => {
  t.ok(Number.isNaN(fittedExponent([{ size: 1e6, value: 3 }])), 'one size');
  t.ok(
    Number.isNaN(
      fittedExponent([
        { size: 1e6, value: 3 },
        { size: 1e6, value: 4 },
      ]),
    ),
    'the same size twice',
  );
  t.ok(Number.isNaN(fittedExponent(points(() => 0))), 'nothing measured');
});
