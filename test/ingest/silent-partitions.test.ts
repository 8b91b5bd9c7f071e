import { setTimeout as sleep } from 'node:timers/promises';
import type { TopicPartition } from 'node-rdkafka';
import { pino } from 'pino';
import tap, { type Test } from 'tap';
import { findResumePoints, type AssignmentContext } from '../../ingest/assignment.ts';
import type { IngestDatabase } from '../../ingest/clickhouse.ts';
import type { Consumer } from '../../ingest/consumer.ts';
import { Epochs, type EpochReader } from '../../ingest/epochs.ts';
import { Heartbeat } from '../../ingest/heartbeat.ts';
import type { PartitionState } from '../../ingest/partitions.ts';
import { CdrhouseError } from '../../schemas/errors.ts';
import { readFeed } from '../../schemas/feed.ts';
import { checkSettings } from '../../schemas/settings.ts';
import { until } from '../cdrhouse-program.ts';

/** Partitions without a leader, whose logs nobody can ask for, beside others. */
const settings = checkSettings({ feeds: [{ name: 'f', topic: 'cdr' }] });
const feeds = settings.feeds.map(readFeed);
const given = [0, 1, 2].map((partition) => ({ topic: 'cdr', partition }));

/** @param silent partitions that do not answer */
function kafka(silent: ReadonlySet<number>) {
  const assigned: number[][] = [];
  const consumer = {
    clusterId: () => Promise.resolve('cluster'),
    topicIds: () => Promise.resolve(new Map([['cdr', 'id']])),
    partitionCounts: () => Promise.resolve(new Map([['cdr', 3]])),
    describeGroup: () => Promise.resolve({ members: 1, assigned: given }),
    watermarks: (topic: string, partition: number) =>
      silent.has(partition)
        ? Promise.reject(new CdrhouseError('KAFKA_UNREACHABLE', `no answer of ${topic}/${partition}`))
        : Promise.resolve({ low: 0, high: 10 }),
    commit: () => Promise.resolve(Date.now()),
    assign: (partitions: readonly TopicPartition[]) => {
      assigned.push(partitions.map(({ partition }) => partition));
    },
  } as unknown as Consumer;
  return { consumer, assigned };
}

const empty = (): Promise<never[]> => Promise.resolve([]);
const done = (): Promise<void> => Promise.resolve();

function database(heartbeats: { partition: number }[][] = []): IngestDatabase {
  return {
    measureClock: done,
    ledgerHeads: empty,
    openGaps: empty,
    rows: empty,
    insertLedger: done,
    insertHeartbeats: (rows: { partition: number }[]) => {
      heartbeats.push(rows);
      return done();
    },
  } as unknown as IngestDatabase;
}

/** Has performance.now() go on by so much at once. */
function clock(t: Test): (ms: number) => void {
  const now = performance.now.bind(performance);
  let ahead = 0;
  performance.now = () => now() + ahead;
  t.teardown(() => (performance.now = now));
  return (ms) => (ahead += ms);
}

function contextOf(silent: ReadonlySet<number>): AssignmentContext {
  return { consumer: kafka(silent).consumer, database: database(), feeds, instance: 'test' };
}

await tap.test('the others go on where they stand; where none answers, all wait', async (t) => {
  const { states, silent } = await findResumePoints(contextOf(new Set([1])), given);
  t.strictSame(
    states.map(({ source }) => source.partition),
    [0, 2],
  );
  t.strictSame(silent, [{ topic: 'cdr', partition: 1 }]);
  await t.rejects(findResumePoints(contextOf(new Set([0, 1, 2])), given), {
    code: 'KAFKA_UNREACHABLE',
    message: 'no answer of cdr/2',
  });
});

await tap.test('it is read with the others as soon as it answers', async (t) => {
  const silent = new Set([0]);
  const { consumer, assigned } = kafka(silent);
  const reader = {
    batches: { open: { pending: false }, drained: done, drop: () => undefined },
    begun: () => undefined,
    submit: () => undefined,
    commit: done,
  } as unknown as EpochReader;
  const epochs = new Epochs(
    {
      settings,
      feeds,
      database: database(),
      log: pino({ level: 'silent' }),
      instanceId: 'test',
      report: () => undefined,
    },
    reader,
  );
  const passing = clock(t);
  epochs.begin(consumer, new AbortController().signal);
  epochs.assigned(given);
  const assignedTimes = async (times: number): Promise<void> =>
    until(`it is assigned ${times} times`, async () => {
      epochs.betweenPolls();
      epochs.watch();
      epochs.throwFailure();
      await sleep(1);
      return assigned.length === times;
    });
  await assignedTimes(1);
  t.strictSame(assigned, [[1, 2]]);
  passing(11_000);
  epochs.watch();
  await sleep(10);
  silent.clear();
  passing(11_000);
  await assignedTimes(2);
  t.strictSame(assigned[1], [0, 1, 2]);
  await epochs.abandon();
});

await tap.test('a heartbeat leaves it out, and asks it last the next time', async (t) => {
  const beats: { partition: number }[][] = [];
  const failures: unknown[] = [];
  const heartbeat = new Heartbeat(database(beats), 'test', (error) => {
    failures.push(error);
  });
  const { consumer } = kafka(new Set([1]));
  const states = given.map(({ topic, partition }): PartitionState => ({
    source: { feed: 0, topic, topicId: 'id', partition },
    clusterId: 'cluster',
    generation: 1,
    position: 10,
    stored: 10,
    end: 10,
  }));
  const passing = clock(t);
  for (let beat = 1; beat <= 3; beat++) {
    heartbeat.beat(consumer, states);
    await until('it is told', () => beats.length === beat);
    await sleep(1);
    passing(11_000);
  }
  t.strictSame(
    beats.map((rows) => rows.map(({ partition }) => partition)),
    [[0], [0, 2], [0, 2]],
  );
  t.equal(failures.length, 3);
});
