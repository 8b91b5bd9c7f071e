import tap from 'tap';
import { settle } from './settle.ts';
import type { CallOfManyRow, CallRow, CallsFilter, Statement } from '../../query/calls-sql.ts';
import { CallsTogether } from '../../query/calls-together.ts';
import { DatabaseError } from '../../query/clickhouse.ts';

const DAY_MS = 86_400_000;
const NOW = Date.UTC(2026, 10, 20);
const PAGE = { after: undefined, rows: 11 };

function search(key: number, more: Partial<CallsFilter> = {}): CallsFilter {
  return {
    number: { kind: 'exact', keys: [key], texts: [`n${key}`] },
    roles: ['calling', 'displayed', 'dialed'],
    otherNumbers: undefined,
    durationMsMin: undefined,
    durationMsMax: undefined,
    outcomes: undefined,
    feeds: undefined,
    range: { fromMs: NOW - 30 * DAY_MS, toMs: NOW },
    term: { months: { all: 36, feeds: {} }, nowMs: NOW },
    visibility: undefined,
    withHeld: false,
    ...more,
  };
}

function row(number: string, startMs: number, cdrKey = '1', more: Partial<CallRow> = {}): CallRow {
  return {
    start_ms: String(startMs),
    cdr_key: cdrKey,
    calling_number: number,
    displayed_caller_id: number,
    dialed_number: 'other',
    duration_ms: 1,
    talk_ms: null,
    outcome: 'answered',
    direction: 'unknown',
    account: '',
    feed: 'f',
    call_id: '',
    ...more,
  };
}

const ofKey = (key: number, of: CallRow): CallOfManyRow => ({
  ...of,
  number_key: String(key),
  of_calling: of.calling_number === `n${key}` ? 1 : 0,
});

/** A statement that was asked, with the keys that it names, and its answer when the test gives one. */
interface Asked {
  readonly kind: 'one' | 'many';
  readonly keys: readonly number[];
  readonly parameters: Statement['parameters'];
  readonly signal: AbortSignal;
  readonly answer: (rows: readonly CallRow[]) => Promise<void>;
  readonly fail: (error: Error) => Promise<void>;
}

function play() {
  const asked: Asked[] = [];
  const ask =
    (kind: Asked['kind']) =>
    ({ parameters }: Statement, ...rest: unknown[]): Promise<never> =>
      new Promise((resolve, reject) => {
        asked.push({
          kind,
          keys: parameters['keys'] as number[],
          parameters,
          signal: rest.at(-1) as AbortSignal,
          answer: (rows) => (resolve(rows as never), settle()),
          fail: (error) => (reject(error), settle()),
        });
      });
  const calls = new CallsTogether({ database: 'db', calls: ask('one'), callsOfMany: ask('many') });
  const never = new AbortController().signal;
  const find = (filter: CallsFilter, page: typeof PAGE = PAGE, gone: AbortSignal = never) =>
    calls.find(filter, page, gone);
  /** A search that is under way, so that what comes waits. */
  const first = async (): Promise<Asked> => {
    void find(search(1));
    await settle();
    return asked[0]!;
  };
  return { asked, find, first };
}

await tap.test('who comes in one turn of the event loop shares a statement', async (t) => {
  const { asked, find } = play();
  void find(search(1));
  void find(search(2));
  await settle();
  t.match(asked, [{ kind: 'many', keys: [1, 2] }]);
  t.equal(asked.length, 1);
});

await tap.test(
  'who asks alone is asked for at once; who comes meanwhile shares the next statement',
  async (t) => {
    const { asked, find } = play();
    const first = find(search(1));
    await settle();
    const second = find(search(2));
    await settle();
    const third = find(search(3));
    t.match(asked, [{ kind: 'one', keys: [1] }]);
    const newest = row('n1', 5);
    await asked[0]!.answer([newest]);
    t.strictSame(await first, [newest]);
    t.match(asked.slice(1), [{ kind: 'many', keys: [2, 3] }]);
    const fourth = find(search(4));
    const [a, b] = [row('n2', 7), row('n3', 8)];
    await asked[1]!.answer([ofKey(2, a), ofKey(3, b)]);
    t.strictSame(await Promise.all([second, third]), [[ofKey(2, a)], [ofKey(3, b)]]);
    t.match(asked.slice(2), [{ kind: 'one', keys: [4] }]);
    await asked[2]!.answer([]);
    t.strictSame(await fourth, []);
  },
);

await tap.test('a page: each call once, the newest first, no more than asked for', async (t) => {
  const { asked, find, first } = play();
  await first();
  const found = find(search(2), { after: undefined, rows: 3 });
  const other = find(search(3), { after: undefined, rows: 3 });
  await asked[0]!.answer([]);
  const big = row('n2', 9, '10000000000000000000');
  const small = row('n2', 9, '9999999999999999999');
  const received = row('x', 8, '1', { dialed_number: 'n2' });
  await asked[1]!.answer([
    ofKey(2, row('n2', 1)),
    ofKey(2, small),
    ofKey(2, received),
    ofKey(2, big),
    ofKey(2, received),
  ]);
  t.match(
    (await found).map(({ start_ms: start, cdr_key: key }) => [start, key]),
    [
      ['9', '10000000000000000000'],
      ['9', '9999999999999999999'],
      ['8', '1'],
    ],
  );
  t.equal((await found).length, 3);
  t.strictSame(await other, []);
});

await tap.test('only searches that are alike share a statement', async (t) => {
  const { asked, find, first } = play();
  await first();
  const range = { fromMs: NOW - 60 * DAY_MS, toMs: NOW - 40 * DAY_MS };
  for (const filter of [
    search(2),
    search(3, { outcomes: ['busy'] }),
    search(4, { range }),
    search(5, { roles: ['dialed'] }),
    search(2, { range }),
    search(2),
    search(6, { range: { fromMs: NOW - 200 * DAY_MS, toMs: NOW - 190 * DAY_MS } }),
  ])
    void find(filter);
  void find(search(7), { after: undefined, rows: 12 });
  await asked[0]!.answer([]);
  t.match(asked[1], {
    kind: 'many',
    // One number in two ranges would be one key with two ranges.
    keys: [2, 4],
    parameters: {
      from_ms: range.fromMs,
      to_ms: NOW,
      // A call can be found twice under one key.
      rows: 22,
      from_of_keys: [NOW - 30 * DAY_MS, range.fromMs],
      to_of_keys: [NOW, range.toMs],
    },
  });
  for (let next = 1; next < asked.length; next++) await asked[next]!.answer([]);
  t.strictSame(
    asked.slice(2).map(({ keys }) => keys),
    [[3], [5], [2], [6], [7]],
    'the others in their order, one after the other',
  );
});

await tap.test('what one statement for many cannot answer is asked for by itself, at once', async (t) => {
  const { asked, find, first } = play();
  const term = { months: { all: 36, feeds: {} }, nowMs: NOW };
  await first();
  void find(search(2, { number: { kind: 'prefix', prefix: '+3361' } }));
  void find(search(3, { visibility: { calls: 'shown', purpose: undefined } }));
  void find(search(4, { withHeld: true }));
  void find(search(5, { range: { fromMs: NOW - 94 * DAY_MS, toMs: NOW } }));
  void find(search(6, { range: { fromMs: NOW - 36 * 31 * DAY_MS, toMs: NOW - 36 * 30 * DAY_MS }, term }));
  void find(search(7), { ...PAGE, after: { startMs: NOW - 1, cdrKey: '1', callingNumber: 'n7' } } as never);
  void find(search(8, { otherNumbers: ['n9'] }));
  void find(search(9), { after: undefined, rows: 502 });
  t.equal(asked.length, 9);
  t.ok(asked.every(({ kind }) => kind === 'one'));
});

await tap.test('a slow statement holds nobody up', async (t) => {
  const { asked, find, first } = play();
  await first();
  void find(search(2));
  void find(search(3));
  for (let wait = 0; wait < 200 && asked.length < 2; wait++)
    await new Promise((done) => setTimeout(done, 10));
  t.match(asked.slice(1), [{ kind: 'many', keys: [2, 3] }], 'while the first is still under way');
  t.equal(asked.length, 2);
  const other = play();
  void other.find(search(1));
  void other.find(search(2, { roles: ['dialed'] }));
  for (let wait = 0; wait < 200 && other.asked.length < 2; wait++)
    await new Promise((done) => setTimeout(done, 10));
  t.match(other.asked, [{ keys: [1] }, { keys: [2] }], 'also where both came in one turn');
});

await tap.test('no more than 32 in one statement', async (t) => {
  const { asked, find, first } = play();
  await first();
  for (let key = 1; key <= 40; key++) void find(search(key));
  await asked[0]!.answer([]);
  t.equal(asked[1]!.keys.length, 32);
  await asked[1]!.answer([]);
  t.equal(asked[2]!.keys.length, 8);
});

await tap.test(
  'what reads too much together is asked for one by one, and fails for whom it fails',
  async (t) => {
    const { asked, find, first } = play();
    await first();
    const [second, third] = [find(search(2)), find(search(3))];
    await asked[0]!.answer([]);
    const tooMany = new DatabaseError('calls of many', { code: '158' });
    await asked[1]!.fail(tooMany);
    t.match(asked.slice(2), [
      { kind: 'one', keys: [2] },
      { kind: 'one', keys: [3] },
    ]);
    await asked[2]!.answer([row('n2', 5)]);
    t.match(await second, [{ start_ms: '5' }]);
    const refused = t.rejects(third, tooMany);
    await asked[3]!.fail(tooMany);
    await refused;
  },
);

await tap.test('any other failure is that of all, and is not tried again', async (t) => {
  const { asked, find, first } = play();
  await first();
  const away = new DatabaseError('calls of many', { code: 'ECONNREFUSED' });
  const refused = [find(search(2)), find(search(3))].map((found) => t.rejects(found, away));
  await asked[0]!.answer([]);
  await asked[1]!.fail(away);
  await Promise.all(refused);
  t.equal(asked.length, 2);
});

await tap.test('who is gone when his turn comes shares nothing', async (t) => {
  const { asked, find, first } = play();
  await first();
  const gone = new AbortController();
  void find(search(2), PAGE, gone.signal);
  void find(search(3));
  void find(search(4));
  gone.abort();
  await asked[0]!.answer([]);
  t.match(asked[1], { kind: 'one', keys: [2], signal: { aborted: true } });
  await asked[1]!.answer([]);
  t.match(asked[2], { kind: 'many', keys: [3, 4] });
});

/** A search of so many keys. */
function keysFrom(from: number, count: number): CallsFilter {
  const keys = Array.from({ length: count }, (_, index) => from + index);
  return search(0, { number: { kind: 'exact', keys, texts: ['n'] } });
}

await tap.test('no more than 48 keys in one statement', async (t) => {
  const { asked, find, first } = play();
  await first();
  void find(keysFrom(100, 49));
  await settle();
  t.match(asked[1], { kind: 'one' }, 'at once');
  for (const from of [200, 300, 400]) void find(keysFrom(from, 20));
  await asked[0]!.answer([]);
  t.equal(asked[2]!.keys.length, 40);
});

await tap.test('a call by its own number comes from the table of calling numbers alone', async (t) => {
  const { asked, find, first } = play();
  await first();
  const [found] = [find(search(2)), find(search(3))];
  await asked[0]!.answer([]);
  // What was corrected in one table and not yet in the other.
  const stale = { ...row('n2', 5, '1', { dialed_number: 'n2' }), number_key: '2', of_calling: 0 };
  await asked[1]!.answer([ofKey(2, row('n2', 6, '2')), stale]);
  t.strictSame(
    (await found).map(({ start_ms: start }) => start),
    ['6'],
  );
});

await tap.test('a text of the same hash is no text that was asked for', async (t) => {
  const { asked, find, first } = play();
  await first();
  const [second, third] = [find(search(2)), find(search(3))];
  await asked[0]!.answer([]);
  await asked[1]!.answer([ofKey(2, row('n3', 5)), ofKey(3, row('n3', 5))]);
  t.match(await third, [{ calling_number: 'n3' }]);
  t.match(asked.slice(2), [{ kind: 'one', keys: [2] }], 'it may have taken the place of another');
  await asked[2]!.answer([]);
  t.strictSame(await second, []);
});

await tap.test('the query ends when nobody waits for it any more', async (t) => {
  const { asked, find, first } = play();
  await first();
  const [a, b] = [new AbortController(), new AbortController()];
  void find(search(2), PAGE, a.signal);
  void find(search(3), PAGE, b.signal);
  await asked[0]!.answer([]);
  a.abort();
  t.equal(asked[1]!.signal.aborted, false);
  b.abort();
  t.equal(asked[1]!.signal.aborted, true);
});
