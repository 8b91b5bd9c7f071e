import { createHmac } from 'node:crypto';
import { setImmediate as nextTurn } from 'node:timers/promises';
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

await tap.test(
  'what is given whole is looked up while the first entry is written, and given behind both',
  async (t) => {
    const writes: { phases: string[]; written: () => void }[] = [];
    const journal = new Journal(journalKey, async (rows) => {
      const phases = rows.map(({ phase, rows: given, complete }) => `${phase} ${given} ${complete}`);
      await new Promise<void>((written) => writes.push({ phases, written }));
    });
    const one = { ...lookup, numbers: ['1'] };
    const steps: string[] = [];
    const given = journal
      .around(
        one,
        async () => (steps.push('read'), ['a', 'b']),
        ({ length }) => length,
      )
      .then((rows) => (steps.push('given'), rows));
    await settle();
    t.strictSame([steps, writes.map(({ phases }) => phases)], [['read'], [['started 0 0']]]);
    writes[0]!.written();
    await settle();
    t.strictSame([steps, writes[1]!.phases], [['read'], ['finished 2 1']]);
    writes[1]!.written();
    t.strictSame(await given, ['a', 'b']);

    const refused = t.rejects(
      journal.around(
        one,
        () => Promise.reject(new Error('away')),
        () => 0,
      ),
      { message: 'away' },
    );
    for (const phases of [['started 0 0'], ['finished 0 0']]) {
      await settle();
      t.strictSame(writes.at(-1)!.phases, phases, 'what failed stands there too');
      writes.at(-1)!.written();
    }
    await refused;
  },
);

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
      journal.around(lookup, lookUp, () => 1),
      { code: 'JOURNAL_UNAVAILABLE' },
    );
});

await tap.test('look-ups that wait are bounded', async (t) => {
  const journal = new Journal(journalKey, () => new Promise(() => undefined));
  const many = { ...lookup, numbers: Array.from({ length: 6000 }, () => '1') };
  void journal.started(many);
  await t.rejects(journal.started(many), { code: 'JOURNAL_UNAVAILABLE' });
});
