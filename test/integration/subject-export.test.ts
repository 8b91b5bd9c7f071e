import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import tap from 'tap';
import { erase } from '../../retention/erase.ts';
import { exportSubject } from '../../retention/subject-export.ts';
import { object, restrict } from '../../retention/subject-restrictions.ts';
import { isSigned, type SignedCertificate } from '../../schemas/certificate.ts';
import { unguardText } from '../../schemas/csv.ts';
import { loadSettings } from '../../settings-loader.ts';
import { Installation } from '../cdrhouse-program.ts';
import { killedAt, tokenOf } from '../subject-program.ts';
import { readCsv } from '../read-csv.ts';
import { testServers } from '../test-servers.ts';
import { CallsClient, serve } from './calls-client.ts';

/** `subject export` over calls that were shipped and ingested: what is told of a person, and what is not. */
const servers = testServers(import.meta.url);
const topic = servers.databases[0]!;
const installation = new Installation(tap, servers, 0, {
  feeds: [{ name: 'pbx', topic, country: 'FR', time_zone: 'UTC', numbers: { strip: ['77'] } }],
  kafka: { topic_partitions: 1 },
  query: { default_country: 'FR' },
});
const settings = loadSettings(installation.environment);
const year = new Date().getUTCFullYear() - 1;
const FROM = Date.UTC(year, 2, 1);
const TO = Date.UTC(year, 5, 1);
const LATE = Date.now() - 10 * 86_400_000;
const day = (month: number): string => `${year}-0${month}-15T10:00:00`;

type Row = Readonly<Record<string, string | number | null | readonly string[]>>;

function asked(out: string, more: { unmasked?: boolean; toMs?: number } = {}) {
  const { unmasked = false, toMs = TO } = more;
  return {
    person: { numbers: ['01 99 00 00 01'], feeds: undefined, fromMs: FROM, toMs },
    reason: 'letter',
    askedMs: undefined,
    dryRun: false,
    out: join(installation.folder, out),
    unmasked,
  };
}
const content = (out: string, file: string): string =>
  readFileSync(join(installation.folder, out, file), 'utf8');
const told = (out: string, name: string): Row[] => JSON.parse(content(out, `${name}.json`)) as Row[];
const ids = (out: string): Set<string> => new Set(told(out, 'calls').map(({ call_id: id }) => String(id)));

const csvRows = (out: string, name: string): Promise<Record<string, string>[]> =>
  readCsv(content(out, `${name}.csv`));

await installation.run('migrate');
const file = installation.write(
  'calls.csv',
  [
    `0199000001,,0199000002,${day(3)},10,5,out,answered,acc-0199000001`,
    `0199000003,,0199000001,${day(4)},20,,in,answered,acc-0199000003`,
    `0199000004,0199000001,0199000005,${day(4)},20,5,shown,answered`,
    `0199000001,,0199000001,${day(4)},1,1,self,answered`,
    `0199000001,,0199000002,${day(2)},10,5,before,answered`,
    `0199000001,,0199000002,${day(6)},10,5,behind,answered`,
    `0199000006,,0199000007,${day(4)},10,5,others,answered`,
    `0199000001,,0199000008,never,10,5,rejected`,
    `33199000001,,0199000008,never,10,5,spelled otherwise`,
    `01/99/00/00/01,,0199000008,never,10,5,with strokes`,
    `770199000001,,0199000008,never,10,5,with a carrier's digits`,
    `+49199000001,,0199000008,never,10,5,somebody else`,
  ].join('\n'),
);
await installation.json('ship', '--feed', 'pbx', file);
await installation.json('ingest', '--until-idle');
const client = new CallsClient(
  await serve(tap, installation),
  await tokenOf(settings, 'disputes', 'disputes:prefix'),
);
const range = { from: `${year}-03-01`, to: `${year}-04-01` };
for (const number of ['0199000001', '+331990*', '0199000009'])
  await client.get('/v1/calls', { number, ...range });
await client.get('/v1/calls', { number: '0199000001', from: `${year}-07-01`, to: `${year}-08-01` });
const { body } = await client.get('/v1/calls', { number: '0199000001', ...range });
await client.get(`/v1/calls/${body.data[0]!.id}`);
// What was sent today is told where the time reaches to this day only.
await exportSubject(settings, asked('first'));
await restrict(settings, { ...asked(''), keepPastTerm: false });
await object(settings, { ...asked(''), kind: 'object', purposes: ['support'] });
await exportSubject(settings, asked('late', { toMs: LATE }));
await exportSubject(settings, asked('second', { unmasked: true, toMs: Date.now() + 60_000 }));

await tap.test('every call of the time, once, with its roles; callers are masked', async (t) => {
  t.strictSame(ids('first'), new Set(['out', 'in', 'shown', 'self']));
  t.equal(told('first', 'calls').length, 4);
  const call = (id: string): Row => told('first', 'calls').find((row) => row['call_id'] === id)!;
  t.match(call('out'), {
    roles: ['calling'],
    start: `${day(3)}.000Z`,
    dialed_number: '+33199000002',
    account: 'acc-0199000001',
    duration_s: 10,
    talk_s: 5,
  });
  t.match(call('in'), {
    roles: ['dialed'],
    calling_number: '+3319900****',
    dialed_number: '+33199000001',
    account: 'acc-019900****',
    talk_s: null,
  });
  t.match(call('shown'), {
    roles: ['displayed'],
    calling_number: '+3319900****',
    displayed_caller_id: '+33199000001',
  });
  t.match(call('self'), { roles: ['calling', 'dialed'], calling_number: '+33199000001' });
  t.equal(call('out')['id'], body.data.find(({ call_id: id }) => id === 'out')!.id);
  t.notMatch(content('first', 'calls.csv') + content('first', 'calls.json'), /99000003|99000004/);
});

await tap.test('unmasked, to this day: callers, and the bytes of rejected records', async (t) => {
  t.strictSame(ids('second'), new Set(['out', 'in', 'shown', 'self', 'behind']));
  const incoming = told('second', 'calls').find(({ call_id: id }) => id === 'in')!;
  t.equal(incoming['calling_number'], '+33199000003');
  t.strictSame(
    new Set(told('second', 'rejected-records').map(({ record }) => String(record).split(',').at(-1))),
    new Set(['rejected', 'spelled otherwise', 'with strokes', "with a carrier's digits"]),
  );
  t.strictSame(told('first', 'rejected-records'), [], 'they were sent long behind the time');
  t.equal(told('late', 'rejected-records').length, 4, 'what comes late may be of a call in the time');
  const erased = await erase(settings, { ...asked('', { toMs: LATE }), dryRun: true }, async () => []);
  t.equal(erased.result['dead_letters_to_redact'], 4, 'what an erasure would overwrite');
});

await tap.test('look-ups about the person in the time, by whichever way, and no others', async (t) => {
  const lookups = told('first', 'look-ups').map(
    ({ route, by_prefix: prefix }) => `${String(route)} ${String(prefix)}`,
  );
  t.strictSame(lookups.sort(), ['/v1/calls 0', '/v1/calls 0', '/v1/calls 1', '/v1/calls/{id} 0']);
  t.match(told('first', 'look-ups')[0], { purpose: 'dispute', asked_from: String, asked_to: String });
  t.equal(told('second', 'look-ups').length, 5, 'also the one about later calls');
  t.notMatch(content('second', 'look-ups.json'), /C-9/, 'nothing of the staff');
});

await tap.test('restrictions, objections and requests of the person', async (t) => {
  t.match(
    told('second', 'restrictions').map(({ number }) => number),
    ['+33199000001', '0199000001'].sort(),
  );
  t.match(told('second', 'objections'), [{ purpose: 'support', kind: 'object', lifted_by: '' }, {}]);
  t.strictSame(
    new Set(told('second', 'requests').map(({ kind }) => kind)),
    new Set(['export', 'restrict', 'object']),
  );
});

await tap.test('CSV says the same as JSON', async (t) => {
  for (const name of ['calls', 'rejected-records', 'look-ups', 'corrections', 'restrictions', 'requests']) {
    const written = told('second', name).map((row) =>
      Object.fromEntries(
        Object.entries(row).map(([column, value]) => [
          column,
          Array.isArray(value) ? value.join(' ') : String(value ?? ''),
        ]),
      ),
    );
    const read = (await csvRows('second', name)).map((row) =>
      Object.fromEntries(Object.entries(row).map(([column, cell]) => [column, unguardText(cell)])),
    );
    t.strictSame(read, written, name);
  }
});

await tap.test('every column is described; the certificate has the hash of each file', async (t) => {
  const about = JSON.parse(content('second', 'about.json')) as {
    time_zone: string;
    glossary: object;
    files: Record<string, { columns: object }>;
  };
  t.match(about, { time_zone: 'UTC', glossary: { talk: String }, units: { _s: /seconds/ } });
  for (const [name, { columns }] of Object.entries(about.files))
    for (const row of told('second', name))
      t.strictSame(Object.keys(row).sort(), Object.keys(columns).sort(), name);
  const signed = JSON.parse(content('second', 'certificate.json')) as SignedCertificate;
  t.ok(isSigned(signed));
  const { files } = signed.certificate['result'] as unknown as { files: Record<string, { sha256: string }> };
  t.equal(Object.keys(files).length, 15);
  for (const [name, { sha256 }] of Object.entries(files))
    t.equal(createHash('sha256').update(content('second', name)).digest('hex'), sha256, name);
  t.equal(statSync(join(installation.folder, 'second', 'calls.json')).mode & 0o077, 0, 'for its owner alone');
});

await tap.test('a full disk is named as such', async (t) => {
  const out = join(installation.folder, 'full');
  mkdirSync(out);
  // As an export that was broken off left it.
  writeFileSync(join(out, 'export-begun'), '');
  symlinkSync('/dev/full', join(out, 'calls.json'));
  await t.rejects(exportSubject(settings, asked('full')), {
    code: 'FILE_UNWRITABLE',
    message: /calls\.json cannot be written \(ENOSPC\)/,
  });
});

await tap.test(
  'a folder that holds anything is left alone; killed and called again it is whole',
  async (t) => {
    await t.rejects(exportSubject(settings, asked('first')), { code: 'USAGE_WRONG' });
    const out = join(installation.folder, 'third');
    const command = [
      '--number',
      '0199000001',
      '--from',
      new Date(FROM).toISOString(),
      '--to',
      new Date(TO).toISOString(),
    ];
    const again = ['subject', 'export', ...command, '--reason', 'letter', '--out', out, '--json'];
    await killedAt(t, installation, ['after', 'subject_requests'], ...again);
    t.notOk(existsSync(join(out, 'certificate.json')));
    t.match(await installation.json(...again), { state: 'done' });
    t.equal(content('third', 'calls.json'), content('first', 'calls.json'));
    t.notOk(existsSync(join(out, 'export-begun')));
  },
);
