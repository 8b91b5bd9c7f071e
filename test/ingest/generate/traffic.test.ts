import tap from 'tap';
import { lastCalendarYear, liveLine, Traffic } from '../../../ingest/generate/traffic.ts';

const period = lastCalendarYear(Date.UTC(2026, 10, 24));
const COUNT = 30_000;

function lines(seed: number, count = COUNT): string[] {
  const traffic = new Traffic(seed, count, period);
  return Array.from({ length: count }, (_, index) => traffic.line(index));
}

interface Call {
  readonly calling: string;
  readonly displayed: string;
  readonly end: number;
  readonly start: number;
  readonly durationMs: number;
}

function parse(line: string): Call {
  const [calling, displayed, , start, duration] = line.split(',') as [string, string, string, string, string];
  const durationMs = Math.round(Number(duration) * 1000);
  return { calling, displayed, start: Date.parse(start), durationMs, end: Date.parse(start) + durationMs };
}

const hour = (ms: number): number => new Date(ms).getUTCHours();

await tap.test('the same seed gives the same bytes, another seed others', async (t) => {
  t.strictSame(lines(5, 500), lines(5, 500));
  t.notSame(lines(5, 500), lines(6, 500));
  t.equal(liveLine(5, 3, 1_700_000_000_000), liveLine(5, 3, 1_700_000_000_000));
});

await tap.test('no two lines are equal', async (t) => {
  t.equal(new Set(lines(1)).size, COUNT);
});

await tap.test('it looks like traffic', async (t) => {
  const calls = lines(9).map(parse);
  const share = (holds: (call: Call) => boolean): number => calls.filter(holds).length / COUNT;
  const between = (value: number, low: number, high: number, what: string): void => {
    t.ok(value >= low && value <= high, `${what}: ${value}`);
  };
  t.ok(
    calls.every(({ end }) => end >= period.from && end < period.to),
    'calls end within the period',
  );
  between(
    share(({ calling, displayed }) => calling !== displayed),
    0.17,
    0.23,
    'displayed number differs',
  );
  between(
    share(({ durationMs }) => durationMs === 0),
    0.1,
    0.18,
    'attempts of 0 seconds',
  );
  between(
    share(({ end }) => hour(end) >= 8 && hour(end) < 18),
    0.65,
    0.9,
    'daytime',
  );
  t.ok(
    calls.some(({ start, end }) => new Date(start).getUTCDate() !== new Date(end).getUTCDate()),
    'calls over midnight',
  );
  t.ok(
    calls.some(({ start, end }) => new Date(start).getUTCMonth() !== new Date(end).getUTCMonth()),
    'calls over month ends',
  );
  const perCaller = new Map<string, number>();
  for (const { calling } of calls) perCaller.set(calling, (perCaller.get(calling) ?? 0) + 1);
  const counts = [...perCaller.values()].sort((a, b) => b - a);
  const heaviest = counts.slice(0, Math.ceil(counts.length / 100)).reduce((sum, count) => sum + count, 0);
  between(heaviest / COUNT, 0.08, 0.4, 'the heaviest hundredth of callers');
});
