import tap from 'tap';
import type { FeedRow, FeedsAnswer, UsageAnswer } from '../../schemas/api.ts';
import { checkSettings } from '../../schemas/settings.ts';
import { sqlTime } from '../../schemas/sql-time.ts';
import { SESSION, Installation, until, whenIdle } from '../cdrhouse-program.ts';
import { CallStore } from '../query/stored-calls.ts';
import { testServers } from '../test-servers.ts';

/** `/v1/feeds` and the control totals of `/v1/usage`, over what real ingest read from Kafka. */
const servers = testServers(import.meta.url);
const [busy, quiet, ids] = ['busy', 'quiet', 'ids'].map((name) => `${servers.databases[0]}.${name}`) as [
  string,
  string,
  string,
];
const feeds = [
  { name: 'busy', topic: busy },
  { name: 'quiet', topic: quiet },
  { name: 'ids', topic: ids, format: 'asterisk-csv', time_zone: 'UTC' },
];
const installation = new Installation(tap, servers, 0, {
  feeds,
  // Short, so that a group is idle soon after its last member ended.
  kafka: { topic_partitions: 2, client: SESSION },
});
const store = new CallStore(tap, servers, 0);

interface Served {
  readonly get: <T>(path: string) => Promise<T>;
}

async function serve(maxSilenceS: number): Promise<Served> {
  const { user, password } = servers.users.query;
  const settings = checkSettings({
    feeds: feeds.map((feed) => ({ ...feed, max_silence_s: maxSilenceS })),
    clickhouse: { url: servers.clickhouse, database: installation.database },
    query: { clickhouse_user: user, clickhouse_password: password, port: 0, log_level: 'silent' },
  });
  const url = await store.serve(tap, settings);
  const get = async <T>(path: string): Promise<T> => {
    const response = await fetch(`${url}${path}`, { headers: { authorization: `Bearer ${token}` } });
    const text = await response.text();
    if (response.status !== 200) throw new Error(text);
    const answer: T = JSON.parse(text);
    return answer;
  };
  return { get };
}

await installation.run('migrate');
const { token } = await store.key(['operations', 'billing']);
const { get } = await serve(3600);

async function feedNamed(name: string, ask = get): Promise<FeedRow> {
  const { data } = await ask<FeedsAnswer>('/v1/feeds?time_zone=Europe/Paris');
  return data.find((row) => row.feed === name)!;
}

const ms = (time: string | null): number => (time === null ? Number.NaN : Date.parse(time));

const hourAgo = new Date(Math.floor(Date.now() / 3_600_000) * 3_600_000 - 3_600_000);
const startOf = (minute: number): string => new Date(hourAgo.getTime() + minute * 60_000).toISOString();
const call = (minute: number, id: string): string =>
  `+33199000001,,+33199000002,${startOf(minute)},60,30,${id},answered\n`;

await tap.test('nothing read: nothing is said', async (t) => {
  t.match(await feedNamed('busy'), {
    topic: busy,
    state: 'unknown',
    complete_up_to: null,
    read_up_to: null,
    silent_since: null,
    newest_start: null,
    lag_messages: null,
    consumed: '0',
    conflicts: { two_calls: null, other_content: null, looked_at: null },
    gaps: [],
  });
});

const header =
  'calling_number,displayed_caller_id,dialed_number,start,duration,talk_duration,call_id,outcome\n';
const lines = Array.from({ length: 40 }, (_, i) => call(i, `id-${i}`));
// Ten are sent twice, two are no calls.
const file = [
  header,
  ...lines,
  ...lines.slice(0, 10),
  'x,,y,never,1\n',
  'x,,y,2026-13-01T00:00:00Z,1\n',
].join('');

async function controlTotals() {
  const from = hourAgo.toISOString();
  const to = new Date(hourAgo.getTime() + 3_600_000).toISOString();
  const { control, total } = await get<UsageAnswer>(`/v1/usage?from=${from}&to=${to}`);
  return { ofFeed: control!.feeds.find(({ feed }) => feed === 'busy')!, total };
}

const read = {
  consumed: '53',
  stored: '50',
  rejected: '2',
  suppressed: '0',
  skipped: '1',
};
const balanced = { accepted: '50', live: '40', duplicates: '10', removed: '0', not_in_ledger: '0' };

await tap.test('what was read is counted, and the period balances', async (t) => {
  await installation.json('ship', '--feed', 'busy', installation.write('a.csv', file));
  t.match(await installation.json('ingest', '--until-idle'), {
    consumed: 53,
    stored: 50,
    rejected: 2,
    skipped: 1,
  });
  const row = await feedNamed('busy');
  t.match(row, { ...read, missing_offsets: '0', gaps: [] });
  t.equal(
    Object.values(row.rejected_by_code).reduce((all, count) => all + Number(count), 0),
    2,
  );
  t.strictSame(row.skipped_by_reason, { header: '1' });
  t.equal(row.records_per_s, Math.round((53 / 300) * 1000) / 1000);
  t.equal(ms(row.newest_start), ms(startOf(39)));
  t.match(row.newest_start, /\+0[12]:00$/, 'in the zone that was asked for');
  const { ofFeed, total } = await controlTotals();
  t.match(ofFeed, { ...balanced, since_start: read });
  t.match(total, { records: '40', talk_ms: '1200000' });
});

await tap.test('while ingest runs, the end of quiet partitions advances what is read', async (t) => {
  const ingest = installation.start('ingest');
  t.teardown(() => ingest.child.kill('SIGKILL'));
  const since = Date.now();
  let row = await feedNamed('busy');
  await until('read up to a time after the last message', async () => {
    row = await feedNamed('busy');
    return ms(row.read_up_to) > since;
  });
  t.match(row, { state: 'complete', lag_messages: '0' });
  t.equal(row.complete_up_to, row.read_up_to);
  t.ok(ms(row.silent_since) < since);
  // Without a message ever nobody knows whether its switch is connected.
  const other = await feedNamed('quiet');
  t.ok(ms(other.read_up_to) > since);
  t.match(other, { state: 'unknown', complete_up_to: null, silent_since: null });

  const impatient = await serve(1);
  const silent = await feedNamed('busy', impatient.get);
  t.match(silent, { state: 'unknown', complete_up_to: silent.silent_since });
  ingest.child.kill('SIGTERM');
  await ingest.ended;
});

await tap.test('a rewind takes back what was said, until it is read again', async (t) => {
  for (const partition of ['0', '1']) {
    const ended = await whenIdle(
      installation,
      'ingest',
      'rewind',
      '--topic',
      busy,
      '--partition',
      partition,
      '--to-offset',
      '0',
    );
    t.equal(ended.code, 0, ended.stderr);
  }
  t.match(await feedNamed('busy'), {
    state: 'unknown',
    read_up_to: null,
    complete_up_to: null,
    consumed: '0',
  });
  t.match((await controlTotals()).ofFeed, {
    accepted: '0',
    live: '40',
    not_in_ledger: '40',
    duplicates: '0',
  });
  t.match(await installation.json('ingest', '--until-idle'), { consumed: 53 });
  t.match(await feedNamed('busy'), read);
  t.match((await controlTotals()).ofFeed, { ...balanced, since_start: read });
});

await tap.test('a gap, and offsets that the ledger does not cover', async (t) => {
  const state = {
    instance: 'x',
    topic: busy,
    partition: 1,
    detail: 'Kafka lost it',
    next_offset: 9,
    end_offset: 0,
  };
  const now = Date.now();
  await store.insert('ingest_state', [{ ...state, state: 'gap', updated_at: sqlTime(now) }]);
  t.match(await feedNamed('busy'), {
    state: 'gap',
    complete_up_to: null,
    gaps: [{ topic: busy, partition: 1, expected_offset: '9', reason: 'Kafka lost it' }],
  });
  await store.insert('ingest_state', [{ ...state, state: 'gap_accepted', updated_at: sqlTime(now + 1) }]);
  t.match(await feedNamed('busy'), { gaps: [] });
  const [newest] = await store.rows<{ topic: string; topic_id: string; partition: number }>(
    `SELECT * FROM ${store.database}.ingest_ledger FINAL WHERE topic = '${busy}' ORDER BY generation DESC, next_offset DESC LIMIT 1`,
  );
  await store.insert('ingest_ledger', [{ ...newest, from_offset: 1000, next_offset: 1010 }]);
  const row = await feedNamed('busy');
  t.equal(row.state, 'gap');
  t.ok(Number(row.missing_offsets) > 900);
  const { topic, topic_id, partition } = newest!;
  const accepted = {
    topic,
    topic_id,
    partition,
    from_offset: 1000 - Number(row.missing_offsets),
    next_offset: 1000,
  };
  await store.insert('accepted_gaps', [{ ...accepted, reason: 'x', accepted_at: sqlTime(now) }]);
  const known = await feedNamed('busy');
  t.equal(known.lost_offsets, row.missing_offsets, 'somebody accepted that they are lost');
  t.not(known.state, 'gap');
});

/** A line of 21 columns, whose id is (uniqueid, sequence). */
const lineOf = (id: string, minute: number, duration: number): string => {
  const time = startOf(minute).slice(0, 19).replace('T', ' ');
  return `"","0199000001","0199000002","d","","SIP/1","","Hangup","","${time}","","${time}",${duration},0,"BUSY","","${id}","","","${id}",1\n`;
};
const sendIds = async (...records: string[]): Promise<void> => {
  await installation.json('ship', '--feed', 'ids', installation.write('ids.csv', records.join('')));
  await installation.json('ingest', '--until-idle');
};

await tap.test('conflicts, as the newest audit found them', async (t) => {
  const audited = async () => {
    const since = Date.now();
    await installation.json('audit', '--feed', 'ids', '--json');
    const { conflicts } = await feedNamed('ids');
    t.ok(ms(conflicts.looked_at) >= since);
    return conflicts;
  };
  await sendIds(lineOf('a', 1, 5), lineOf('b', 1, 5), lineOf('a', 1, 5));
  t.match((await feedNamed('ids')).conflicts, { looked_at: null }, 'no audit yet');
  t.match(await audited(), { two_calls: '0', other_content: '0' });
  await sendIds(lineOf('a', 2, 5), lineOf('b', 2, 5), lineOf('c', 1, 5), lineOf('c', 1, 6));
  t.match(await audited(), { two_calls: '2', other_content: '1' });
  t.match((await feedNamed('busy')).conflicts, { looked_at: null }, 'its records have no ids');
});
