import { request } from 'node:http';
import tap from 'tap';
import { until } from '../cdrhouse-program.ts';
import { testServers } from '../test-servers.ts';
import { ClickhouseProxy, insertsInto, type Exchange } from './clickhouse-proxy.ts';
import { ledgerStored, readAll, startIngest } from './harness.ts';
import { beforeLedger, change, joined, killedAt, NEW, OLD, Readings, verdict } from './readings.ts';

/** Settings of a feed have changed, and inserts of the process before may still arrive. */
const servers = testServers(import.meta.url);
const readings = await Readings.fill(tap, servers);

await tap.test("a killed process's insert that arrives late", async (t) => {
  const installation = await readings.installation(t, 2, OLD);
  const proxy = await ClickhouseProxy.start(t, servers.clickhouse);
  installation.environment['CDRHOUSE_CLICKHOUSE_URL'] = proxy.url;
  // It stands somewhere on its way, like a packet that is sent again later.
  const late: Exchange[] = [];
  const rule = proxy.on(insertsInto('cdr', 'cdr_by_number'), async (exchange) => {
    late.push(exchange);
    await new Promise(() => undefined);
  });
  const old = startIngest(t, installation);
  await until('both tables are waited for', () => late.length >= 2);
  old.child.kill('SIGKILL');
  await old.ended;
  rule.remove();
  change(installation, readings.topic, NEW);
  const now = installation.start('ingest', '--until-idle');
  await until('it waits', () => now.stderr().includes('read with other settings'));
  for (const exchange of late.slice(0, 2)) t.equal((await exchange.forward()).status, 200, 'it arrives');
  t.match(await now.ended, { code: 0 });
  await verdict(t, installation, await readings.reference(t, NEW));
});

await tap.test("a killed process's insert that still runs when its lease is over", async (t) => {
  const installation = await readings.installation(t, 2, OLD);
  const bounds = await killedAt(t, servers, installation, beforeLedger(0));
  t.strictSame([...bounds.values()], [0, 0], 'only rows of the killed process');
  const [row] = await installation.rows<{ feed: string }>('SELECT feed FROM {db}.cdr LIMIT 1');
  t.ok(row);
  const { user, password } = servers.users.ingest;
  const insert = (table: string, key: string): { finish: () => Promise<number> } => {
    const query = `INSERT INTO ${installation.database}.${table} (${key}, start_at, cdr_key, calling_number, dialed_number, feed, source_partition, source_offset, source_line, stored_at, version) FORMAT JSONEachRow`;
    const sent = request(`${servers.clickhouse}/?async_insert=0&query=${encodeURIComponent(query)}`, {
      method: 'POST',
      headers: { 'x-clickhouse-user': user, 'x-clickhouse-key': password },
    });
    const answered = new Promise<number>((resolve, reject) => {
      sent.on('error', reject);
      sent.on('response', (response) => {
        response.resume();
        response.on('end', () => resolve(response.statusCode!));
      });
    });
    const now = Math.floor(Date.now() / 1000);
    const line = (n: number): string =>
      `${JSON.stringify({ [key]: 1, ...(table === 'cdr' ? {} : { role: 'dialed' }), start_at: '2025-05-05 05:05:05', cdr_key: n, calling_number: '+33199000001', dialed_number: '+33199000002', feed: 'pbx', source_partition: 0, source_offset: 7, source_line: n, stored_at: now, version: 2 ** 32 - 1 - now })}\n`;
    // The server begins an insert when a part of its rows is there; empty lines are none.
    sent.write('\n'.repeat(2_000_000));
    sent.write(line(1));
    return {
      finish: () => {
        sent.end(line(2));
        return answered;
      },
    };
  };
  const running = [insert('cdr', 'calling_key'), insert('cdr_by_number', 'number_key')];
  change(installation, readings.topic, NEW);
  const now = installation.start('ingest', '--until-idle');
  await until('it waits', () => now.stderr().includes('read with other settings'));
  const seconds = async (): Promise<number> => {
    const [oldest] = await installation.rows<{ elapsed: number }>(
      `SELECT max(elapsed) AS elapsed FROM system.processes WHERE startsWith(query, 'INSERT INTO {db}.cdr')`,
    );
    return oldest!.elapsed;
  };
  // The lease is 6 s, and 2 s are left beside it.
  await until('they run longer than the lease', async () => (await seconds()) > 12);
  t.equal(await ledgerStored(installation), 0, 'nothing is read before');
  for (const { finish } of running) t.equal(await finish(), 200, 'it ends after the lease');
  t.match(await now.ended, { code: 0 });
  await verdict(t, installation, await readings.reference(t, NEW));
});

await tap.test('SIGTERM ends the waiting for older inserts', async (t) => {
  const installation = await readings.installation(t, 2, OLD);
  const bounds = await killedAt(t, servers, installation, beforeLedger(1));
  change(installation, readings.topic, NEW);
  const ingest = startIngest(t, installation);
  await until('it waits', () => ingest.stderr().includes('read with other settings'));
  ingest.child.kill('SIGTERM');
  t.match(await ingest.ended, { code: 0 });
  t.notMatch(ingest.stderr(), /partitions assigned/);
  await readAll(installation);
  await verdict(
    t,
    installation,
    joined(await readings.reference(t, OLD), await readings.reference(t, NEW), bounds),
  );
});
