import tap from 'tap';
import { judge, type FeedProgress } from '../../query/feed-states.ts';

const NOW = 1_000_000_000;
const HOUR = 3_600_000;
const fresh: FeedProgress = {
  readUpToMs: NOW - 1000,
  newestMessageMs: NOW - 5000,
  seenMs: NOW - 1000,
  lagMessages: 0,
  missingOffsets: 0,
  lostOffsets: 0,
};

await tap.test('a feed is complete as far as that is proven', async (t) => {
  const cases: [string, Partial<FeedProgress>, ReturnType<typeof judge>][] = [
    ['read, and sending', {}, { state: 'complete', completeUpToMs: NOW - 1000 }],
    [
      'catching up',
      { readUpToMs: NOW - 120_000, newestMessageMs: NOW - 120_000 },
      { state: 'behind', completeUpToMs: NOW - 120_000 },
    ],
    [
      'silent for too long',
      { newestMessageMs: NOW - 2 * HOUR },
      { state: 'unknown', completeUpToMs: NOW - 2 * HOUR },
    ],
    ['ingest is gone', { seenMs: NOW - 61_000 }, { state: 'unknown', completeUpToMs: NOW - 1000 }],
    ['ingest never told', { seenMs: null }, { state: 'unknown', completeUpToMs: NOW - 1000 }],
    [
      'behind by more than it may be silent',
      { readUpToMs: NOW - 2 * HOUR, newestMessageMs: NOW - 2 * HOUR },
      { state: 'behind', completeUpToMs: NOW - 2 * HOUR },
    ],
    ['a partition was never read', { readUpToMs: null }, { state: 'unknown', completeUpToMs: null }],
    ['no message ever', { newestMessageMs: null }, { state: 'unknown', completeUpToMs: null }],
    ['offsets are missing', { missingOffsets: 2, lostOffsets: 1 }, { state: 'gap', completeUpToMs: null }],
    [
      'what is missing was accepted as lost',
      { missingOffsets: 2, lostOffsets: 2 },
      { state: 'complete', completeUpToMs: NOW - 1000 },
    ],
  ];
  for (const [what, progress, expected] of cases)
    t.strictSame(judge({ ...fresh, ...progress }, false, HOUR, NOW), expected, what);
  t.match(judge(fresh, true, HOUR, NOW), { state: 'gap', completeUpToMs: null });
  t.match(
    judge(fresh, false, undefined, NOW),
    { state: 'unknown', completeUpToMs: null },
    'not in the settings',
  );
});
