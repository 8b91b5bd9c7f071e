import tap from 'tap';
import type { TopicStatus } from '../../retention/status.ts';
import { addMonths } from '../../schemas/retention-term.ts';
import { until, within } from '../cdrhouse-program.ts';
import { testServers } from '../test-servers.ts';
import { badLine, callLines, house, judge, ledgerStored, Load, readAll, startIngest } from './harness.ts';
import { createTopic, Observer, Sender, type Sent } from './topic.ts';

/** Odd records, odd times, odd topics. */
const servers = testServers(import.meta.url);
const HOUR_MS = 3_600_000;
/** Of length 0 but not null: the client takes a buffer without memory for a tombstone. */
const EMPTY = Buffer.from('x').subarray(0, 0);
const compactedTopic = `${servers.databases[4]}`;

const iso = (ms: number): string => new Date(ms).toISOString();

/** Begins early, since the broker compacts every 15 s only. */
const compactedLines = callLines(79, 60);
await tap.test('a compacted topic is filled', async (t) => {
  await createTopic(servers.kafka, compactedTopic, {
    partitions: 1,
    config: {
      'cleanup.policy': 'compact',
      'segment.ms': '100',
      'min.cleanable.dirty.ratio': '0.01',
      'max.compaction.lag.ms': '100',
      'min.compaction.lag.ms': '0',
    },
  });
  const sender = await Sender.connect(t, servers.kafka);
  for (const [index, line] of compactedLines.entries()) {
    await sender.send(compactedTopic, [{ partition: 0, value: Buffer.from(line), key: `key-${index % 7}` }]);
  }
});

await tap.test(
  'poison: bad lines, cut and binary records, tombstones, empty messages, headers',
  async (t) => {
    const installation = await house(t, servers, 0, { partitions: 2 });
    const load = new Load(2);
    for (let round = 0; round < 10; round++) {
      load.calls(callLines(700 + round, 200), 20, 'with bad lines');
      // A record cut off, a binary one, a megabyte without a newline, a field that is too long.
      load.bad(Buffer.from(`+33199000001,+33199000001,+3319900000${round}`));
      load.bad(Buffer.from([0x00, 0xc3, 0x28, 0xff, 0xfe, round, 0x80]));
      load.bad(Buffer.alloc(900_000, 0x61 + round));
      load.bad(
        Buffer.from(`${String(round).repeat(5000)},,+33199000002,2025-03-01T10:00:00Z,1,1,long,answered,`),
      );
      load.empty(null, 'tombstone');
      load.empty(EMPTY, 'empty_message');
      load.empty(Buffer.from('\n\r\n\n'), 'empty_line', 3);
    }
    // Headers are no part of a record; they stand between the messages in what a broker sends.
    const sent = load.messages.map((message, index) => ({
      ...message,
      headers:
        index % 3 === 0 ? [] : [{ source: `switch-${index}` }, { source: '' }, { trace: 'x'.repeat(300) }],
    }));
    await (await Sender.connect(t, servers.kafka)).send(installation.database, sent);
    t.match(await readAll(installation), {
      consumed: load.consumed,
      stored: load.accepted,
      rejected: load.rejected.length,
      suppressed: 0,
      skipped: load.skippedCount,
      skipped_by_reason: load.skipped,
    });
    await judge(t, installation, load);
  },
);

await tap.test('the same file sent twice and packed differently is stored once', async (t) => {
  const installation = await house(t, servers, 1, { partitions: 3 });
  const lines = callLines(71, 2000);
  const file = installation.write('calls.csv', `${lines.join('\n')}\n`);
  const load = new Load(3);
  for (const bytes of ['65536', '1024', '7000']) {
    installation.environment['CDRHOUSE_SHIP_MESSAGE_BYTES_MAX'] = bytes;
    const { messages } = await installation.json<{ messages: number }>('ship', '--again', file);
    t.comment(`${messages} messages`);
    // A second time with the ledger in between, so that both ways are met: within a batch and across.
    if (bytes === '1024') await readAll(installation);
    load.calls(lines, 100);
  }
  await readAll(installation);
  await judge(t, installation, load);
});

await tap.test('one feed wholly poisoned: the other stays queryable within 3 s', async (t) => {
  const [poisoned, healthy] = [`${servers.databases[2]}.poisoned`, `${servers.databases[2]}.healthy`];
  const installation = await house(t, servers, 2, {
    settings: {
      feeds: [
        { name: 'poisoned', topic: poisoned },
        { name: 'healthy', topic: healthy },
      ],
      kafka: { topic_partitions: 1 },
    },
    // As they are by default.
    environment: { CDRHOUSE_INGEST_BATCH_MESSAGES_MAX: '200000', CDRHOUSE_INGEST_FLUSH_INTERVAL_MS: '1000' },
  });
  const sender = await Sender.connect(t, servers.kafka);
  const POISON = 100_000;
  const poison: Sent[] = Array.from({ length: POISON }, (_, index) => ({
    partition: 0,
    value: badLine(5 * index),
  }));
  await sender.send(poisoned, poison);
  const ingest = startIngest(t, installation);
  await until('reading has begun', () => /partitions assigned/.test(ingest.stderr()));
  const lines = callLines(72, 8);
  const latencies: number[] = [];
  for (const line of lines) {
    const callId = line.split(',')[6]!;
    await sender.send(healthy, [{ partition: 0, value: Buffer.from(line) }]);
    const stored = async (): Promise<boolean> => {
      const [row] = await installation.rows<{ count: string }>(
        `SELECT count() AS count FROM {db}.cdr FINAL WHERE call_id = '${callId}'`,
      );
      return row!.count === '1';
    };
    latencies.push(await within(10_000, 'the call is queryable', stored));
    // Poison keeps coming.
    await sender.send(poisoned, poison.slice(0, 2000));
  }
  t.ok(Math.max(...latencies) < 3000, `at most ${Math.round(Math.max(...latencies))} ms`);
  ingest.child.kill('SIGTERM');
  t.equal((await ingest.ended).code, 0);
  await readAll(installation);
  const [row] = await installation.rows<Record<string, string>>(
    `SELECT (SELECT count() FROM {db}.dead_letters FINAL) AS dead,
       (SELECT sum(rejected) FROM {db}.ingest_ledger FINAL) AS rejected`,
  );
  const sent = String(POISON + 2000 * lines.length);
  t.match(row, { dead: sent, rejected: sent }, 'all of the poison is among the dead letters');
});

await tap.test('starts at the edges: zone changes, ends of months and years, future, past', async (t) => {
  const installation = await house(t, servers, 3, {
    settings: {
      feeds: [{ name: 'paris', topic: servers.databases[3], time_zone: 'Europe/Paris' }],
      kafka: { topic_partitions: 1 },
    },
  });
  const now = Date.now();
  const term = addMonths(now, -36);
  /** Start as sent, and as stored; or why not. */
  const cases: [string, string][] = [
    // Twice on the clock: the earlier one, unless the record tells.
    ['2025-10-26T02:30:00', '2025-10-26T00:30:00.000Z'],
    ['2025-10-26T02:30:00+01:00', '2025-10-26T01:30:00.000Z'],
    ['2025-10-26T01:59:59.999', '2025-10-25T23:59:59.999Z'],
    ['2025-10-26T03:00:00', '2025-10-26T02:00:00.000Z'],
    // Never on the clock: moved forward.
    ['2025-03-30T02:30:00', '2025-03-30T01:30:00.000Z'],
    ['2025-03-30T01:59:59.999', '2025-03-30T00:59:59.999Z'],
    ['2025-03-30T03:00:00', '2025-03-30T01:00:00.000Z'],
    // Ends of months and years, in UTC and in the zone.
    ['2025-12-31T23:59:59.999Z', '2025-12-31T23:59:59.999Z'],
    ['2026-01-01T00:00:00Z', '2026-01-01T00:00:00.000Z'],
    ['2026-01-01T00:59:59.999', '2025-12-31T23:59:59.999Z'],
    ['2026-01-31T23:59:59.999Z', '2026-01-31T23:59:59.999Z'],
    ['2026-02-01T00:00:00.000Z', '2026-02-01T00:00:00.000Z'],
    ['2024-02-29T12:00:00Z', '2024-02-29T12:00:00.000Z'],
    ['2025-02-29T12:00:00Z', 'START_UNREADABLE'],
    ['1767225600', '2026-01-01T00:00:00.000Z'],
    ['1767225599999', '2025-12-31T23:59:59.999Z'],
    // Ahead and long ago.
    [iso(now + 23 * HOUR_MS), iso(now + 23 * HOUR_MS)],
    [iso(now + 25 * HOUR_MS), 'START_IN_FUTURE'],
    ['9999-12-31T23:59:59Z', 'START_IN_FUTURE'],
    ['1970-01-01T00:00:00Z', 'START_IMPLAUSIBLE'],
    ['1994-12-31T23:59:59Z', 'START_IMPLAUSIBLE'],
    [iso(term + HOUR_MS), iso(term + HOUR_MS)],
    [iso(term - 60_000), 'expired'],
    ['1995-01-01T00:00:00Z', 'expired'],
  ];
  const lines = cases.map(
    ([start], index) => `+33199000001,,+33199000002,${start},1,1,edge-${index},answered,`,
  );
  const sender = await Sender.connect(t, servers.kafka);
  const sent = [{ partition: 0, value: Buffer.from(lines.join('\n')) }];
  await sender.send(installation.database, sent);
  await readAll(installation);
  // Read again later: judged by the record's own Kafka timestamp, the outcome is the same.
  await sender.send(installation.database, sent);
  const summary = await readAll(installation);
  const outcomes = cases.map(([, outcome]) => outcome);
  t.match(summary, {
    consumed: cases.length,
    stored: outcomes.filter((outcome) => outcome.includes('T') && outcome.endsWith('Z')).length,
    rejected: outcomes.filter((outcome) => outcome.startsWith('START_')).length,
    skipped_by_reason: { expired: 2 },
  });
  const stored = await installation.rows<{ call_id: string; start: string }>(
    `SELECT call_id, concat(formatDateTime(start_at, '%Y-%m-%dT%H:%i:%S'), '.',
       leftPad(toString(toUnixTimestamp64Milli(start_at) % 1000), 3, '0'), 'Z') AS start FROM {db}.cdr FINAL`,
  );
  const dead = await installation.rows<{ raw: string; code: string }>(
    'SELECT DISTINCT raw, code FROM {db}.dead_letters FINAL',
  );
  const found = new Map([
    ...stored.map(({ call_id, start }) => [call_id, start] as const),
    ...dead.map(({ raw, code }) => [raw.split(',')[6]!, code] as const),
  ]);
  t.equal(stored.length + dead.length, found.size, 'each once');
  for (const [index, [start, outcome]] of cases.entries())
    t.equal(found.get(`edge-${index}`) ?? 'expired', outcome, start);
  const [counts] = await installation.rows<Record<string, string>>(
    'SELECT sum(zone_overlaps) AS overlaps, sum(zone_gaps) AS gaps FROM {db}.ingest_ledger FINAL',
  );
  t.match(counts, { overlaps: '2', gaps: '2' }, 'both are counted, in both readings');
});

await tap.test(
  'starts that become due while it runs: stored until then, counted as expired from then on',
  async (t) => {
    // A multiple of four years, so that a 29 February has one before it.
    const MONTHS = 48;
    const installation = await house(t, servers, 6, {
      partitions: 1,
      environment: { CDRHOUSE_RETENTION_MONTHS: String(MONTHS) },
    });
    const sender = await Sender.connect(t, servers.kafka);
    const ingest = startIngest(t, installation);
    await until('it reads', () => /partitions assigned/.test(ingest.stderr()));
    const due = Date.now() + 15_000;
    const lines = (name: string): string[] =>
      Array.from({ length: 20 }, (_, index) => {
        const start = iso(addMonths(due - index, -MONTHS));
        return `+33199000001,+33199000001,+33199000002,${start},1,0,${name}-${index},answered,`;
      });
    const load = new Load(1).calls(lines('early'), 10).calls(callLines(73, 100), 10, 'with bad lines');
    await sender.send(installation.database, load.messages);
    await until('they are stored', async () => (await ledgerStored(installation)) === load.accepted);
    await until('they are due', () => Date.now() > due);

    const from = load.messages.length;
    // Others with the same starts, and the same ones sent again.
    for (const name of ['late', 'early']) load.empty(Buffer.from(lines(name).join('\n')), 'expired', 20);
    load.calls(callLines(74, 100), 10);
    await sender.send(installation.database, load.since(from));
    await until('it has read on', async () => (await ledgerStored(installation)) === load.accepted);
    ingest.child.kill('SIGTERM');
    t.equal((await ingest.ended).code, 0);
    const [row] = await installation.rows<{ expired: string }>(
      "SELECT sum(skipped_by_reason['expired']) AS expired FROM {db}.ingest_ledger FINAL",
    );
    t.equal(row!.expired, '40');
    await readAll(installation);
    await judge(t, installation, load);
  },
);

await tap.test('records of aborted transactions are never read, and nothing stands still', async (t) => {
  const installation = await house(t, servers, 5, { partitions: 1 });
  const topic = installation.database;
  const load = new Load(1);
  const sender = await Sender.connect(t, servers.kafka, `${topic}-sender`);
  for (const end of ['commit', 'abort', 'commit', 'abort', 'abort'] as const) {
    const lines = callLines(80 + load.messages.length, 200);
    if (end === 'abort') {
      await sender.transaction(
        topic,
        new Load(1).calls(
          lines.map((line) => `${line}x`),
          10,
        ).messages,
        end,
      );
      continue;
    }
    const from = load.messages.length;
    load.calls(lines, 10, 'with bad lines');
    await sender.transaction(topic, load.since(from), end);
  }
  t.match(await readAll(installation), { stored: load.accepted, rejected: load.rejected.length });
  await judge(t, installation, load);
  t.match(await readAll(installation), { consumed: 0 }, 'read to the end, over the last aborted one');
});

await tap.test('a compacted topic: holes in the offsets are no gap', async (t) => {
  const installation = await house(t, servers, 4, { partitions: 1 });
  const observer = await Observer.connect(t, servers.kafka, `${installation.database}-observer`);
  const [log] = await observer.logs(compactedTopic);
  let kept: { value: Buffer }[] = [];
  await until('the broker has compacted', async () => {
    kept = await observer.read(compactedTopic, log!);
    return kept.length < compactedLines.length;
  });
  const load = new Load(1);
  for (const { value } of kept) load.calls([value.toString()], 1);
  t.match(await readAll(installation), { stored: kept.length });
  await judge(t, installation, load);
  t.comment(`${kept.length} of ${compactedLines.length} messages are kept`);
  const { topics } = await installation.json<{ topics: TopicStatus[] }>('retention', 'status', '--json');
  t.match(
    topics,
    [{ retention_ms: -1, warning: /keeps records longer/ }],
    'who only compacts keeps for ever',
  );
});
