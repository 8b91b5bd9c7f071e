import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import tap from 'tap';
import { Installation, type Ended } from '../cdrhouse-program.ts';
import { testServers } from '../test-servers.ts';

const servers = testServers(import.meta.url);
const installation = new Installation(tap, servers, 0, {
  feeds: [{ name: 'audited', topic: servers.databases[0] }],
});

interface Report {
  readonly accepted: number;
  readonly found: number;
  readonly elsewhere: number;
  readonly differences: {
    readonly fault: string;
    readonly partition: number;
    readonly from_offset: number;
    readonly next_offset: number;
    readonly cdr: number;
    readonly cdr_by_number: number;
  }[];
}

async function audit(...options: string[]): Promise<{ code: Ended['code']; report: Report }> {
  const { code, stdout } = await installation.run('audit', '--json', ...options);
  return { code, report: JSON.parse(stdout) as Report };
}

/** Detaches one part of a table and gives its name. */
async function detachPart(table: string): Promise<string> {
  const [part] = await installation.rows<{ name: string }>(
    `SELECT name FROM system.parts WHERE database = '{db}' AND table = '${table}' AND active ORDER BY name LIMIT 1`,
  );
  await installation.statement(`ALTER TABLE {db}.${table} DETACH PART '${part!.name}'`);
  return part!.name;
}

await tap.test('what was ingested, with bad lines and re-sent ones, agrees', async (t) => {
  await installation.run('migrate');
  const good = Array.from(
    { length: 50 },
    (_, i) => `+33199000001,,+33199000002,2026-0${1 + (i % 3)}-01T10:00:00Z,${i}`,
  );
  const file = installation.write('a.csv', [...good, 'bad', ...good.slice(0, 5), ''].join('\n'));
  await installation.json('ship', file);
  await installation.json('ingest', '--until-idle');
  t.match(await audit(), { code: 0, report: { accepted: 55, found: 50, elsewhere: 5, differences: [] } });
  const strict = await audit('--strict');
  t.equal(strict.code, 1);
  t.match(strict.report.differences, [{ fault: 'too_few' }]);
});

await tap.test('the outcome is left for Prometheus', async (t) => {
  const path = join(installation.folder, 'audit.prom');
  const value = (name: string): number => {
    const line = readFileSync(path, 'utf8')
      .split('\n')
      .find((candidate) => candidate.startsWith(`${name} `));
    return Number(line?.slice(name.length + 1));
  };
  const beganMs = Date.now();
  t.match(await audit('--metrics-file', path), { code: 0 });
  t.equal(value('cdrhouse_audit_differences{fault="too_few"}'), 0);
  t.equal(value('cdrhouse_audit_accepted_records'), 55);
  t.equal(value('cdrhouse_audit_elsewhere_records'), 5);
  t.ok(value('cdrhouse_audit_last_run_timestamp_seconds') >= beganMs / 1000);
  t.equal(statSync(path).mode & 0o777, 0o644 & ~process.umask());
  const inode = statSync(path).ino;
  t.match(await audit('--strict', '--feed', 'audited', '--metrics-file', path), { code: 1 });
  t.equal(value('cdrhouse_audit_differences{feed="audited",fault="too_few"}'), 1, 'also where they differ');
  t.not(statSync(path).ino, inode, 'replaced, not rewritten');
  t.strictSame(
    readdirSync(installation.folder).filter((name) => name.startsWith('audit')),
    ['audit.prom'],
  );
  const unwritable = await installation.run('audit', '--metrics-file', join(path, 'x.prom'));
  t.equal(unwritable.code, 1);
  t.match(unwritable.stderr, /FILE_UNWRITABLE/);
});

await tap.test('a detached part is seen, and no more once it is back', async (t) => {
  for (const table of ['cdr', 'cdr_by_number']) {
    const part = await detachPart(table);
    const { code, report } = await audit();
    t.equal(code, 1, table);
    t.match(report.differences, [{ fault: 'tables_differ' }]);
    await installation.statement(`ALTER TABLE {db}.${table} ATTACH PART '${part}'`);
    t.match(await audit(), { code: 0, report: { differences: [] } });
  }
});

await tap.test('missing dead letters and a hole in the ledger are seen', async (t) => {
  const part = await detachPart('dead_letters');
  t.match(await audit(), { code: 1, report: { differences: [{ fault: 'dead_letters_differ' }] } });
  const aged = async (months: number): Promise<void> =>
    installation.statement(
      `INSERT INTO {db}.ingest_ledger SELECT * REPLACE (message_at_max + INTERVAL ${months} MONTH AS message_at_max, stored_at + INTERVAL 1 SECOND AS stored_at) FROM {db}.ingest_ledger FINAL`,
    );
  await aged(-37);
  t.match(await audit(), { code: 0 }, 'they may be gone because their term is over');
  await aged(37);
  await installation.statement(`ALTER TABLE {db}.dead_letters ATTACH PART '${part}'`);

  await installation.statement(
    `INSERT INTO {db}.ingest_ledger (cluster_id, topic, topic_id, partition, generation, from_offset, next_offset, feed)
     SELECT cluster_id, topic, topic_id, partition, generation, next_offset + 3, next_offset + 4, feed
     FROM {db}.ingest_ledger FINAL ORDER BY next_offset DESC LIMIT 1`,
  );
  const { code, report } = await audit();
  t.equal(code, 1);
  const hole = report.differences.find(({ fault }) => fault === 'ledger_hole');
  t.ok(hole);
  await installation.statement(
    `INSERT INTO {db}.accepted_gaps SELECT topic, topic_id, partition, ${hole!.from_offset}, ${hole!.next_offset}, 'lost', now64(3)
     FROM {db}.ingest_ledger FINAL WHERE partition = ${hole!.partition} LIMIT 1`,
  );
  t.match(await audit(), { code: 0, report: { lost_offsets: 3, differences: [] } }, 'unless it was accepted');
});
