import { createHmac } from 'node:crypto';
import { once } from 'node:events';
import { setImmediate as nextTurn, setTimeout as delay } from 'node:timers/promises';
import tap from 'tap';
import { settle } from './settle.ts';
import { Journal, type JournalRow, type Lookup } from '../../query/journal.ts';

const journalKey = Buffer.alloc(32, 3);
const lookup: Lookup = {
  requestId: 'r1',
  keyId: 'k1',
  agent: 'ada',
  purpose: 'dispute',
  caseId: 'C-1',
  route: '/v1/calls',
  numbers: ['06 39 98 00 01', '+33639980001'],
  filter: { roles: ['calling'] },
};

await tap.test('a row for each text that is searched, without the number', async (t) => {
  const written: JournalRow[] = [];
  const journal = new Journal(journalKey, async (rows) => void written.push(...rows));
  await journal.started(lookup);
  await journal.finished(lookup, 7, true);
  t.equal(written.length, 4);
  t.match(written[1], {
    request_id: 'r1',
    phase: 'started',
    key_id: 'k1',
    agent: 'ada',
    purpose: 'dispute',
    case_id: 'C-1',
    route: '/v1/calls',
    number_hmac: createHmac('sha256', journalKey).update('+33639980001').digest('hex'),
    hmac_key_id: /^[0-9a-f]{8}$/,
    filter: '{"roles":["calling"]}',
    rows: 0,
    complete: 0,
  });
  t.match(written[3], { phase: 'finished', rows: 7, complete: 1 });
  t.notMatch(JSON.stringify(written), /639980001|39 98/);
});

await tap.test('what comes while a write runs goes together into the next one', async (t) => {
  const sizes: number[] = [];
  const releases: (() => void)[] = [];
  const journal = new Journal(journalKey, async (rows) => {
    sizes.push(rows.length);
    await new Promise<void>((resolve) => releases.push(resolve));
  });
  const first = [1, 2].map(() => journal.started(lookup));
  await nextTurn();
  const others = [1, 2, 3].map(() => journal.started(lookup));
  await nextTurn();
  t.strictSame(sizes, [4], 'one write runs, of all that came in one turn of the event loop');
  releases.shift()!();
  await Promise.all(first);
  while (releases.length === 0) await Promise.resolve();
  t.strictSame(sizes, [4, 6]);
  releases.shift()!();
  await Promise.all(others);
});

await tap.test('without the journal there is no answer', async (t) => {
  let broken = true;
  const journal = new Journal(journalKey, async () => {
    if (broken) throw new Error('disk full');
  });
  await t.rejects(journal.started(lookup), { code: 'JOURNAL_UNAVAILABLE', status: 503 });
  broken = false;
  await t.resolves(journal.started(lookup), 'and it goes on when it can be written again');
});

/** A journal whose writes wait to be let go, as `phase rows complete` a row. */
function slowJournal() {
  const writes: { rows: string[]; written: () => void; failed: (error: Error) => void }[] = [];
  const journal = new Journal(journalKey, async (written) => {
    const rows = written.map(({ request_id, phase, rows: given, complete }) =>
      [request_id, phase, given, complete].join(' '),
    );
    await new Promise<void>((resolve, reject) => writes.push({ rows, written: resolve, failed: reject }));
  });
  return { journal, writes };
}

const request = (requestId: string): Lookup => ({ ...lookup, requestId, numbers: ['1'] });
/** Of a client that stays. */
const here = new AbortController().signal;
const two = async (): Promise<string[]> => ['a', 'b'];
const lengthOf = ({ length }: readonly unknown[]): number => length;

await tap.test(
  'what is given whole is read while its first entry is written, and given behind it',
  async (t) => {
    const { journal, writes } = slowJournal();
    const steps: string[] = [];
    const given = journal
      .around(request('r1'), here, async () => (steps.push('read'), ['a', 'b']), lengthOf)
      .then((rows) => (steps.push('given'), rows));
    await settle();
    t.strictSame([steps, writes.map(({ rows }) => rows)], [['read'], [['r1 started 0 0']]]);
    writes[0]!.written();
    t.strictSame(await given, ['a', 'b']);

    const refused = journal.around(request('r2'), here, () => Promise.reject(new Error('away')), lengthOf);
    await settle();
    t.strictSame(
      writes[1]!.rows,
      ['r1 finished 2 1', 'r2 started 0 0'],
      'its last entry goes with the next first one',
    );
    writes[1]!.written();
    await t.rejects(refused, { message: 'away' });

    const rest = journal.writeRest();
    await settle();
    t.strictSame(writes[2]!.rows, ['r2 finished 0 0'], 'what failed stands there too');
    writes[2]!.written();
    t.equal(await rest, 0);
    t.equal(await journal.writeRest(), 0);
    t.equal(writes.length, 3, 'each once');
  },
);

await tap.test('a last entry that nobody follows is written alone', async (t) => {
  const { journal, writes } = slowJournal();
  const given = journal.around(request('r1'), here, two, lengthOf);
  await settle();
  writes[0]!.written();
  await given;
  await settle();
  t.equal(writes.length, 1, 'not at once');
  for (let turn = 0; writes.length === 1 && turn < 1000; turn++) await delay(5);
  t.strictSame(writes[1]!.rows, ['r1 finished 2 1']);
});

await tap.test(
  'a last entry that cannot be written is tried again, and no other is lost by it',
  async (t) => {
    const { journal, writes } = slowJournal();
    const first = journal.around(request('r1'), here, two, lengthOf);
    const second = journal.around(request('r2'), here, two, lengthOf);
    await settle();
    writes[0]!.written();
    await first;
    await second;
    const third = journal.around(request('r3'), here, two, lengthOf);
    await settle();
    t.strictSame(writes[1]!.rows, ['r1 finished 2 1', 'r2 finished 2 1', 'r3 started 0 0']);
    writes[1]!.failed(new Error('disk full'));
    await t.rejects(third, { code: 'JOURNAL_UNAVAILABLE' });

    let rest = journal.writeRest();
    await settle();
    t.strictSame(writes[2]!.rows, ['r1 finished 2 1', 'r2 finished 2 1']);
    // One that begins while they are written does not take them along.
    const fourth = journal.started(request('r4'));
    writes[2]!.failed(new Error('disk full'));
    await settle();
    t.strictSame(writes[3]!.rows, ['r1 finished 2 1', 'r2 finished 2 1', 'r4 started 0 0']);
    writes[3]!.failed(new Error('disk full'));
    await t.rejects(fourth, { code: 'JOURNAL_UNAVAILABLE' });
    t.equal(await rest, 2, 'it is told how many are left');

    rest = journal.writeRest();
    await settle();
    t.strictSame(writes[4]!.rows, ['r1 finished 2 1', 'r2 finished 2 1']);
    writes[4]!.written();
    t.equal(await rest, 0);
  },
);

await tap.test('what waits while a write runs is written by who asks for the rest', async (t) => {
  const { journal, writes } = slowJournal();
  const first = journal.around(request('r1'), here, two, lengthOf);
  await settle();
  const second = journal.started(request('r2'));
  writes[0]!.written();
  await settle();
  t.strictSame(writes[1]!.rows, ['r2 started 0 0'], 'begun before the first was given');
  await first;
  const rest = journal.writeRest();
  writes[1]!.written();
  await second;
  await settle();
  t.strictSame(writes[2]!.rows, ['r1 finished 2 1']);
  writes[2]!.written();
  t.equal(await rest, 0);
});

await tap.test('nothing is given where only the last entry could be written', async (t) => {
  let writes = 0;
  const journal = new Journal(journalKey, async () => {
    if (++writes > 1) return;
    // Long after the look-up has its answer.
    await settle();
    throw new Error('disk full');
  });
  await t.rejects(
    journal.around(
      lookup,
      here,
      async () => 7,
      () => 1,
    ),
    { code: 'JOURNAL_UNAVAILABLE' },
  );
  t.equal(writes, 1, 'nor does it stand there as ended');
});

await tap.test('what the journal refuses at once is not even read', async (t) => {
  const journal = new Journal(journalKey, () => new Promise(() => undefined));
  void journal.started({ ...lookup, numbers: Array.from({ length: 10_000 }, () => '1') });
  let read = false;
  await t.rejects(
    journal.around(
      lookup,
      here,
      async () => (read = true),
      () => 1,
    ),
    { code: 'JOURNAL_UNAVAILABLE' },
  );
  t.notOk(read);
});

await tap.test('without its first entry nothing is given, nor told why a look-up failed', async (t) => {
  const journal = new Journal(journalKey, () => Promise.reject(new Error('disk full')));
  for (const lookUp of [async () => 7, () => Promise.reject(new Error('refused'))])
    await t.rejects(
      journal.around(lookup, here, lookUp, () => 1),
      { code: 'JOURNAL_UNAVAILABLE' },
    );
});

await tap.test('what is read for nobody is ended', async (t) => {
  const { journal, writes } = slowJournal();
  const client = new AbortController();
  const reads: AbortSignal[] = [];
  const lookUp = async (ended: AbortSignal): Promise<never> => {
    reads.push(ended);
    await once(ended, 'abort');
    throw new Error('aborted');
  };
  const looked = [client.signal, here].map((gone) => journal.around(lookup, gone, lookUp, () => 1));
  const aborted = (): boolean[] => reads.map((ended) => ended.aborted);
  await settle();
  t.strictSame(aborted(), [false, false]);
  client.abort();
  t.strictSame(aborted(), [true, false], 'the client is gone');
  writes[0]!.failed(new Error('disk full'));
  for (const each of looked) await t.rejects(each, { code: 'JOURNAL_UNAVAILABLE' });
  t.strictSame(aborted(), [true, true], 'the first entry cannot be written');
});

await tap.test('look-ups that wait are bounded', async (t) => {
  const journal = new Journal(journalKey, () => new Promise(() => undefined));
  const many = { ...lookup, numbers: Array.from({ length: 6000 }, () => '1') };
  void journal.started(many);
  await t.rejects(journal.started(many), { code: 'JOURNAL_UNAVAILABLE' });
});
