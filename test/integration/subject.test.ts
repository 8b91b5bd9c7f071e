import { join } from 'node:path';
import tap from 'tap';
import { erase } from '../../retention/erase.ts';
import { exportSubject } from '../../retention/subject-export.ts';
import { subjectList, subjectShow } from '../../retention/subject-list.ts';
import { isOverdue } from '../../retention/subject-requests.ts';
import { lift, object, restrict } from '../../retention/subject-restrictions.ts';
import { isSigned } from '../../schemas/certificate.ts';
import { loadSettings } from '../../settings-loader.ts';
import { Installation } from '../cdrhouse-program.ts';
import { ClickhouseProxy } from '../fault/clickhouse-proxy.ts';
import { killedAt, type ToldReport } from '../subject-program.ts';
import { testServers } from '../test-servers.ts';

/** `subject list | restrict | lift | object | withdraw`: requests, their rows and certificates. */
const servers = testServers(import.meta.url);
const installation = new Installation(tap, servers, 0, {
  feeds: [{ name: 'pbx', topic: servers.databases[0], country: 'FR' }],
  kafka: { topic_partitions: 1 },
  query: { default_country: 'FR' },
});
const settings = loadSettings(installation.environment);
const year = new Date().getUTCFullYear() - 1;
const FROM = Date.UTC(year, 0, 1);
const TO = Date.UTC(year, 6, 1);
const NUMBER = '+33199000001';

function asked(toMs: number | undefined = TO, number = NUMBER) {
  return {
    person: { numbers: [number], feeds: undefined, fromMs: FROM, toMs },
    reason: 'letter of May',
    askedMs: undefined,
    dryRun: false,
  };
}
const rows = (table: string): Promise<Record<string, unknown>[]> =>
  installation.rows(`SELECT * FROM {db}.${table} FINAL ORDER BY ALL`);
const holding = async (table: string): Promise<Record<string, unknown>[]> =>
  (await rows(table)).filter(({ lifted_by: by }) => by === '');
const objections = async (): Promise<Set<string>> =>
  new Set((await holding('objections')).map(({ kind, purpose }) => `${String(kind)} ${String(purpose)}`));

await installation.run('migrate');

await tap.test('a dry run writes nothing', async (t) => {
  const report = await restrict(settings, { ...asked(), keepPastTerm: false, dryRun: true });
  t.match(report, { request_id: null, state: 'dry_run' });
  t.strictSame([await rows('restrictions'), await rows('subject_requests')], [[], []]);
});

await tap.test('a request has a row, a deadline and a signed certificate', async (t) => {
  const askedMs = Date.now() - 40 * 86_400_000;
  const report = await restrict(settings, { ...asked(), askedMs, keepPastTerm: true });
  t.match(report, {
    state: 'done',
    result: { keep_past_term: true, calls: { calling: 0, dialed: 0, displayed: 0 } },
  });
  t.ok(isSigned(report.certificate!));
  t.match(report.certificate!.certificate, {
    request_id: report.request_id!,
    kind: 'restrict',
    reason: 'letter of May',
    held_from: new Date(FROM).toISOString(),
    asked_at: new Date(askedMs).toISOString(),
  });
  const listed = await subjectList(settings, { due: false });
  t.match(listed, [{ request_id: report.request_id, state: 'done', overdue: false }]);
  t.ok(isOverdue({ state: 'begun', dueMs: 1 }, 1));
  t.notOk(isOverdue({ state: 'deferred', dueMs: 1 }, 1), 'what is deferred was answered');
  const shown = await subjectShow(settings, report.request_id!);
  t.strictSame(shown.certificate, report.certificate);
  t.notMatch(JSON.stringify([report, listed, shown, await rows('subject_requests')]), /99000001/);
  await t.rejects(subjectShow(settings, 'x'), { code: 'REQUEST_UNKNOWN' });
  const other = await object(settings, { ...asked(), kind: 'object', purposes: ['legal'] });
  t.equal(other.certificate!.signature.key_id, report.certificate!.signature.key_id, 'one key signs all');
});

await tap.test('objection and withdrawal are recorded per purpose, and lifted per purpose', async (t) => {
  await object(settings, { ...asked(), kind: 'object', purposes: ['support', 'billing'] });
  await object(settings, { ...asked(), kind: 'withdraw', purposes: ['support'] });
  const all = ['object legal', 'object billing', 'object support', 'withdraw support'];
  t.strictSame(await objections(), new Set(all));
  const report = await lift(settings, { ...asked(), purposes: ['support'] });
  t.match(report.result, { lifted: 2, of: 'objections' });
  t.strictSame(await objections(), new Set(all.slice(0, 2)));
  t.throws(() => object(settings, { ...asked(), kind: 'object', purposes: ['fun'] }), {
    code: 'USAGE_WRONG',
  });
});

await tap.test('numbers stand in no URL, which proxies and servers log', async (t) => {
  const proxy = await ClickhouseProxy.start(t, servers.clickhouse);
  const urls: string[] = [];
  let bound = 0;
  proxy.on(
    () => true,
    async (exchange) => {
      urls.push(decodeURIComponent(exchange.url));
      if (exchange.body.includes('99000003')) bound++;
      exchange.answer(await proxy.forward(exchange));
    },
  );
  const through = { ...settings, clickhouse: { ...settings.clickhouse, url: proxy.url } };
  const person = asked(TO, '+33199000003');
  await restrict(through, { ...person, keepPastTerm: true });
  await lift(through, { ...person, purposes: [] });
  const out = join(installation.folder, 'export');
  await exportSubject(through, { ...person, out, unmasked: true });
  await erase(through, person, async () => []);
  t.ok(bound > 10, 'in what is sent beside it they do');
  t.strictSame(
    urls.filter((url) => url.includes('99000003')),
    [],
  );
});

await tap.test('lift ends what lies within its time, and says where nothing does', async (t) => {
  const purposes: string[] = [];
  await t.rejects(lift(settings, { ...asked(TO - 1), purposes }), { code: 'USAGE_WRONG' });
  t.equal((await holding('restrictions')).length, 1);
  t.match(await lift(settings, { ...asked(), purposes }), { result: { lifted: 1, of: 'restrictions' } });
  t.strictSame(await holding('restrictions'), []);
});

await tap.test('killed at any step and called again: one request each, lifted once', async (t) => {
  const before = new Set((await rows('subject_requests')).map(({ request_id: id }) => id));
  const time = ['--from', new Date(FROM).toISOString(), '--reason', 'again'];
  const person = ['--number', '01 99 00 00 02', ...time, '--json'];
  for (const [command, ...places] of [
    ['restrict', ['after', 'subject_requests'], ['after', 'restrictions']],
    ['lift', ['before', 'restrictions'], ['after', 'restrictions']],
  ] as const) {
    for (const place of places) await killedAt(t, installation, place, 'subject', command, ...person);
    t.match(await subjectList(settings, { due: true }), [{ kind: command, state: 'begun' }]);
    const report = await installation.json<ToldReport>('subject', command, ...person);
    t.match(report, { state: 'done', ...(command === 'lift' ? { result: { lifted: 2 } } : {}) });
  }
  const ids = (await rows('subject_requests'))
    .map(({ request_id: id }) => id)
    .filter((id) => !before.has(id));
  t.equal(ids.length, 2);
  t.strictSame(await subjectList(settings, { due: true }), []);
  const ours = (await rows('restrictions')).filter(({ number }) => number === '+33199000002');
  t.strictSame(
    ours.map(({ request_id: id, lifted_by: by }) => new Set([id, by])),
    [new Set(ids)],
  );
});
