import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import tap from 'tap';
import { erase, finishErasures } from '../../retention/erase.ts';
import { exportSubject } from '../../retention/subject-export.ts';
import { rectifyCall } from '../../retention/subject-rectify.ts';
import { lift, object, restrict } from '../../retention/subject-restrictions.ts';
import { loadSettings } from '../../settings-loader.ts';
import { Installation } from '../cdrhouse-program.ts';
import { tokenOf } from '../subject-program.ts';
import { testServers } from '../test-servers.ts';
import { CallsClient, serve } from './calls-client.ts';

/** An extension is another person on another switch: what is done for one by `--feed` leaves the other alone. */
const servers = testServers(import.meta.url);
const [A, B] = ['a', 'b'].map((name, index) => ({
  name,
  topic: servers.databases[index]!,
  country: 'FR',
  time_zone: 'UTC',
})) as [object, object];
const installation = new Installation(
  tap,
  servers,
  0,
  { feeds: [A, B], kafka: { topic_partitions: 1 }, query: { default_country: 'FR' } },
  { CDRHOUSE_RETENTION_BILLING_MONTHS: '0' },
);
const settings = loadSettings(installation.environment);
const year = new Date().getUTCFullYear() - 1;
const [FROM, TO] = [Date.UTC(year, 0, 1), Date.UTC(year, 11, 1)];
const EXTENSION = '1002';
const PERSON = '+33639980017';
const range = { from: `${year}-03-01`, to: `${year}-05-01` };

function asked(number: string, ...feeds: string[]) {
  return {
    person: { numbers: [number], feeds: feeds.length === 0 ? undefined : feeds, fromMs: FROM, toMs: TO },
    reason: 'letter',
    askedMs: undefined,
    dryRun: false,
  };
}
const noTopics = async (): Promise<[]> => [];
const idsOf = async (): Promise<string[]> =>
  (await installation.rows<{ call_id: string }>('SELECT call_id FROM {db}.cdr FINAL ORDER BY call_id')).map(
    ({ call_id: id }) => id,
  );

/** What was asked for in the name of anybody, and what is held. */
const rights = (): Promise<object[][]> =>
  Promise.all(
    ['restrictions', 'objections', 'legal_holds'].map((table) =>
      installation.rows<object>(`SELECT * FROM {db}.${table} FINAL ORDER BY ALL`),
    ),
  );

await installation.run('migrate');
for (const feed of ['a', 'b']) {
  const lines = [
    `${EXTENSION},,0639980002,${year}-04-15T10:00:00,10,5,extension-${feed},answered`,
    `${PERSON},,0639980002,${year}-04-15T11:00:00,10,5,person-${feed},answered`,
  ];
  const file = installation.write(`${feed}.csv`, `${lines.join('\n')}\n`);
  await installation.json('ship', '--feed', feed, file);
}
await installation.json('ingest', '--until-idle');
const client = new CallsClient(await serve(tap, installation), await tokenOf(settings, 'disputes'));

await tap.test('a misspelt feed is refused, not certified', async (t) => {
  const misspelt = asked(PERSON, 'b', 'aa');
  const call = { call: 'x', field: 'duration', value: '1' };
  for (const command of [
    () => restrict(settings, { ...misspelt, keepPastTerm: false }),
    () => object(settings, { ...misspelt, kind: 'object', purposes: ['support'] }),
    () => lift(settings, { ...misspelt, purposes: [] }),
    () => exportSubject(settings, { ...misspelt, out: join(installation.folder, 'x'), unmasked: false }),
    () => rectifyCall(settings, { ...misspelt, ...call }),
    () => erase(settings, misspelt, noTopics),
  ])
    await t.rejects(command(), { code: 'FEED_UNKNOWN', message: /"aa"/ });
  t.strictSame(await installation.rows('SELECT * FROM {db}.subject_requests'), []);
  const audit = await installation.run('audit', '--feed', 'aa');
  t.match([audit.code, audit.stderr], [2, /FEED_UNKNOWN.*"aa"/]);
  t.match(await installation.json('audit', '--feed', 'a', '--json'), { partitions: 1, differences: [] });
});

await tap.test('a feed that the ledger alone knows counts as well', async (t) => {
  const today = { ...settings, feeds: settings.feeds.filter(({ name }) => name === 'b') };
  const person = { ...asked(EXTENSION), keepPastTerm: false, dryRun: true };
  await t.rejects(restrict(today, person), { code: 'USAGE_WRONG', message: /--feed/ });
  t.match(await restrict(today, { ...asked(EXTENSION, 'a'), keepPastTerm: false, dryRun: true }), {
    result: { calls: { calling: 1 } },
  });
});

await tap.test('an export tells nothing of the same extension on another switch', async (t) => {
  const idOf = async (feed: string): Promise<string> =>
    (await client.get('/v1/calls', { number: EXTENSION, feed, ...range })).body.data[0]!.id;
  const [ofA, ofB] = [await idOf('a'), await idOf('b')];
  await client.get('/v1/calls', { number: EXTENSION, ...range });
  for (const id of [ofA, ofB]) await client.get(`/v1/calls/${id}`);
  const correction = { call: ofA, field: 'duration', value: '11' };
  await rectifyCall(settings, { ...asked(EXTENSION, 'a'), ...correction });
  // Of the other one: a hold in force, one that has ended, an objection.
  const own = await restrict(settings, { ...asked(EXTENSION, 'a'), keepPastTerm: true });
  await lift(settings, { ...asked(EXTENSION, 'a'), purposes: [] });
  await restrict(settings, { ...asked(EXTENSION, 'a'), reason: 'once more', keepPastTerm: true });
  await object(settings, { ...asked(EXTENSION, 'a'), kind: 'object', purposes: ['support'] });
  t.match(own.certificate?.certificate, { feeds: ['a'] });

  const told = async (feed: string): Promise<(name: string) => Record<string, unknown>[]> => {
    const out = join(installation.folder, `export-${feed}`);
    await exportSubject(settings, { ...asked(EXTENSION, feed), out, unmasked: true });
    return (name) => JSON.parse(readFileSync(join(out, `${name}.json`), 'utf8')) as Record<string, unknown>[];
  };
  const [a, b] = [await told('a'), await told('b')];
  for (const of of [a, b])
    t.strictSame(
      of('look-ups').map(({ route }) => route),
      ['/v1/calls', '/v1/calls', '/v1/calls/{id}'],
      'one by its feed, one over all feeds, one by its id',
    );
  t.strictSame(
    ['corrections', 'restrictions', 'objections'].map((name) => [a(name).length, b(name).length]),
    [
      [1, 0],
      [2, 0],
      [1, 0],
    ],
  );
  t.strictSame(
    b('requests').map(({ kind }) => kind),
    ['export'],
  );
});

await tap.test('an erasure leaves what the other one asked for, and does not wait for it', async (t) => {
  const before = await rights();
  await restrict(settings, { ...asked(EXTENSION, 'b'), keepPastTerm: true });
  await lift(settings, { ...asked(EXTENSION, 'b'), purposes: [] });
  t.match(await erase(settings, asked(EXTENSION, 'b'), noTopics), {
    state: 'done',
    result: { calls_deleted: 1, residue: { legal_holds_that_ended: 0 } },
  });
  t.strictSame(await rights(), before);
  t.strictSame(await idsOf(), ['extension-a', 'person-a', 'person-b']);
});

await tap.test('the calls of a number on one switch alone are erased', async (t) => {
  t.match(await erase(settings, asked(PERSON, 'b'), noTopics), {
    state: 'done',
    result: { calls_deleted: 1, found_afterwards: { keys: 0 } },
  });
  t.strictSame(await idsOf(), ['extension-a', 'person-a']);
});

await tap.test('where one feed is known, what is no E.164 number is of that feed', async (t) => {
  const only = new Installation(
    t,
    servers,
    2,
    { feeds: [A], query: { default_country: 'FR' } },
    { CDRHOUSE_RETENTION_BILLING_MONTHS: '600' },
  );
  await only.run('migrate');
  const alone = loadSettings(only.environment);
  const of = async (number: string): Promise<unknown> =>
    (await restrict(alone, { ...asked(number), keepPastTerm: false })).certificate!.certificate['feeds'];
  const restrictions = (): Promise<object[]> =>
    only.rows<object>('SELECT DISTINCT number, feed FROM {db}.restrictions FINAL ORDER BY number');
  const all = { number: PERSON, feed: '' };
  const extension = { number: EXTENSION, feed: 'a' };
  t.strictSame([await of(EXTENSION), await of(PERSON)], [['a'], []]);
  t.strictSame(await restrictions(), [all, extension]);

  // Of an erasure that is finished when another feed is there, in which the same digits are another person.
  const typed = asked('06 39 98 00 17');
  t.match(await erase(alone, typed, noTopics), { state: 'deferred' });
  const digits = { number: '0639980017', feed: 'a' };
  t.strictSame(await restrictions(), [all, digits, extension]);
  await only.statement(
    `INSERT INTO {db}.cdr (calling_key, calling_number, start_at, feed, cdr_key, version) VALUES
    (1, '0639980017', '${year}-04-15', 'a', 1, 1), (2, '0639980017', '${year}-04-15', 'b', 2, 1), (3, '${PERSON}', '${year}-04-15', 'b', 3, 1)`,
  );
  const later = { ...settings, clickhouse: { ...settings.clickhouse, database: only.database } };
  await finishErasures(later, noTopics, ({ state }) => t.equal(state, 'done'));
  t.strictSame(await only.rows('SELECT cdr_key FROM {db}.cdr'), [{ cdr_key: '2' }]);
  t.strictSame(await restrictions(), [extension], 'however it was typed');
});
