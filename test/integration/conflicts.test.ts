import tap from 'tap';
import type { Conflicts } from '../../retention/conflicts.ts';
import { SESSION, Installation, until } from '../cdrhouse-program.ts';
import { testServers } from '../test-servers.ts';

/** The audit tells where a switch gave one id to different records; what is merely sent again is none. */
const servers = testServers(import.meta.url);
const topic = `${servers.databases[0]}.ids`;
const installation = new Installation(tap, servers, 0, settings('UTC'));

function settings(zone: string, more: object = {}): object {
  return {
    feeds: [
      { name: 'ids', topic, format: 'asterisk-csv', time_zone: zone, ...more },
      { name: 'bytes', topic: `${topic}.bytes` },
    ],
    kafka: { topic_partitions: 1, client: SESSION },
  };
}

/** A line of 21 columns, whose id is (uniqueid, sequence). */
function line(
  id: string,
  sequence: number,
  { start = '10:00:00', duration = 5, caller = '0199000001' } = {},
): string {
  const time = `2026-03-01 ${start}`;
  return `"","${caller}","0199000002","d","","SIP/1","","Hangup","","${time}","${time}","${time}",${duration},${duration},"ANSWERED","DOCUMENTATION","${id}","","","${id}",${sequence}`;
}

let files = 0;
async function send(feed: string, ...lines: string[]): Promise<void> {
  const file = installation.write(`${files++}.csv`, `${lines.join('\n')}\n`);
  await installation.json('ship', '--feed', feed, file);
  await installation.json('ingest', '--until-idle');
}

async function conflicts(...options: string[]): Promise<Conflicts[]> {
  const report = await installation.json<{ conflicts: Conflicts[] }>('audit', '--json', ...options);
  return report.conflicts;
}

async function reload(): Promise<void> {
  const command = ['feeds', 'reload', '--feed', 'ids', '--from', '2026-01-01T00:00:00Z'];
  await until('the group is idle', async () => {
    const { code, stderr } = await installation.run(...command);
    if (code !== 0 && !stderr.includes('GROUP_BUSY')) throw new Error(stderr);
    return code === 0;
  });
  await installation.json('ingest', '--until-idle');
}

await tap.test('records that were sent again, and legs of one call, are no conflict', async (t) => {
  await installation.run('migrate');
  await send('ids', line('a', 1), line('a', 2), line('a', 1), line('b', 1));
  await send('ids', line('a', 1), line('b', 1), line('e', 1, { caller: 'anonymous' }));
  await send(
    'bytes',
    '+33199000001,,+33199000002,2026-03-01T10:00:00Z,5,5,same',
    '+33199000001,,+33199000002,2026-03-01T10:00:00Z,6,6,same',
  );
  t.strictSame(await conflicts(), []);
});

await tap.test('one id, other content', async (t) => {
  await send('ids', line('c', 1), line('c', 1, { duration: 7 }));
  await send('ids', line('b', 1, { duration: 8 }));
  const expected = { feed: 'ids', kind: 'other_content', ids: 2 };
  const [found, ...others] = await conflicts();
  t.match(found, expected);
  t.strictSame(others, []);
  t.strictSame(found!.places, [
    ['0/0/4', '0/1/2', '0/3/1'],
    ['0/2/1', '0/2/2'],
  ]);
  const [kept] = await installation.rows<{ duration_ms: number }>(
    `SELECT duration_ms FROM {db}.cdr FINAL WHERE call_id = 'b'`,
  );
  t.equal(kept!.duration_ms, 5000, 'the first is read');
});

await tap.test('one id, another start: both calls stand', async (t) => {
  await send('ids', line('d', 1));
  await send('ids', line('d', 1, { start: '11:00:00' }));
  t.match(await conflicts(), [
    { feed: 'ids', kind: 'two_calls', ids: 1, places: [['0/4/1', '0/5/1']] },
    { kind: 'other_content', ids: 2 },
  ]);
  t.strictSame(await conflicts('--feed', 'bytes'), []);
  const path = `${installation.folder}/audit.prom`;
  const told = await installation.run('audit', '--metrics-file', path);
  t.match(told, {
    code: 0,
    stdout: /conflict {2}ids: 1 id\(s\) with more than one call\n {2}0\/4\/1 {2}0\/5\/1/,
  });
});

await tap.test('a correction makes no conflicts; reading again without one does', async (t) => {
  installation.environment['CDRHOUSE_CONFIG'] = installation.write(
    'zone.json',
    JSON.stringify(settings('Europe/Paris')),
  );
  await send('ids', line('a', 1));
  t.match((await conflicts())[0], { kind: 'two_calls', ids: 2 }, 'read in another zone than the first time');
  await reload();
  t.match((await conflicts())[0], { kind: 'two_calls', ids: 1 }, 'only the one that the switch made');
  // Of a caller without a number the key stays, and another dialed number is stored under it.
  installation.environment['CDRHOUSE_CONFIG'] = installation.write(
    'country.json',
    JSON.stringify(settings('Europe/Paris', { country: 'FR' })),
  );
  await reload();
  t.match(await conflicts(), [
    { kind: 'two_calls', ids: 1 },
    { kind: 'other_content', ids: 2 },
  ]);
});
