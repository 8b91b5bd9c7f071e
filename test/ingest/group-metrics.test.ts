import tap from 'tap';
import { GroupMetrics } from '../../ingest/group-metrics.ts';
import type { PartitionLag } from '../../ingest/lag.ts';
import { IngestMetrics, type IngestState } from '../../ingest/metrics.ts';
import type { StatusAnswer } from '../../ingest/process-messages.ts';

/** A process with metrics of its own. */
class Process {
  readonly metrics = new IngestMetrics(['feed']);
  state: IngestState = { lags: [], gaps: [], oldestUnflushedSeconds: 0, paused: false, utilization: 0 };

  constructor() {
    this.metrics.observe({ state: () => this.state });
  }

  status(): Promise<StatusAnswer['metrics']> {
    return this.metrics.current().getMetricsAsJSON();
  }
}

function lag(partition: number, messages: number, seconds: number): PartitionLag {
  return { topic: 'cdr', partition, messages, seconds };
}

async function read(
  group: GroupMetrics<Process>,
  answering: readonly Process[],
): Promise<(line: string) => number | undefined> {
  const answers = new Map<Process, StatusAnswer['metrics']>();
  for (const process of answering) answers.set(process, await process.status());
  const text = await (await group.combine(answers, true)).metrics();
  const values = new Map(
    text
      .split('\n')
      .filter((line) => line !== '' && !line.startsWith('#'))
      .map((line) => [line.slice(0, line.lastIndexOf(' ')), Number(line.slice(line.lastIndexOf(' ') + 1))]),
  );
  return (name) => values.get(name);
}

await tap.test('ages are not added up, and a partition that moves counts once', async (t) => {
  const [a, b] = [new Process(), new Process()];
  a.state = {
    lags: [lag(0, 10, 30), lag(1, 5, 7)],
    gaps: [{ topic: 'cdr', partition: 9 }],
    oldestUnflushedSeconds: 4,
    paused: true,
    utilization: 0.25,
  };
  b.state = {
    lags: [lag(1, 6, 8)],
    gaps: [{ topic: 'cdr', partition: 9 }],
    oldestUnflushedSeconds: 6,
    paused: true,
    utilization: 0.75,
  };
  const group = new GroupMetrics<Process>();
  let value = await read(group, [a, b]);
  t.equal(value('cdrhouse_ingest_lag_messages{topic="cdr",partition="1"}'), 6);
  t.equal(value('cdrhouse_ingest_lag_seconds{topic="cdr",partition="1"}'), 8);
  t.equal(value('cdrhouse_ingest_lag_seconds{topic="cdr",partition="0"}'), 30);
  t.equal(value('cdrhouse_ingest_partition_gap{topic="cdr",partition="9"}'), 1);
  t.equal(value('cdrhouse_ingest_oldest_unflushed_seconds'), 6);
  t.equal(value('cdrhouse_ingest_worker_utilization'), 0.5);
  t.equal(value('cdrhouse_ingest_paused'), 1);
  a.state = { ...a.state, lags: [lag(0, 0, 0)] };
  value = await read(group, [a, b]);
  t.equal(value('cdrhouse_ingest_lag_seconds{topic="cdr",partition="1"}'), 8, 'it has moved');
});

await tap.test('counters never go back when a process is replaced or silent; gauges forget it', async (t) => {
  const [a, b, c] = [new Process(), new Process(), new Process()];
  const retries = 'cdrhouse_ingest_retries_total{step="s",reason="r"}';
  const inserts = 'cdrhouse_ingest_insert_seconds_count{table="cdr"}';
  for (const process of [a, b]) {
    process.metrics.retried('s', 'r');
    process.metrics.inserted('cdr', 10);
  }
  b.state = { ...b.state, lags: [lag(0, 3, 3)] };
  const group = new GroupMetrics<Process>();
  let value = await read(group, [a, b]);
  t.equal(value(retries), 2);
  value = await read(group, [a]);
  t.equal(value(retries), 2, 'b is silent');
  t.equal(value('cdrhouse_ingest_lag_messages{topic="cdr",partition="0"}'), undefined);
  await group.ended(b);
  group.restarted();
  c.metrics.retried('s', 'r');
  value = await read(group, [a, c]);
  t.equal(value(retries), 3, 'c has taken the place of b');
  t.equal(value(inserts), 2);
  t.equal(value('cdrhouse_ingest_restarts_total'), 1);
  t.equal(value('cdrhouse_ingest_ready'), 1, 'the parent says whether it is ready');
  // It answered just before it ended.
  const ending = group.ended(a);
  value = await read(group, [a, c]);
  t.equal(value(retries), 3, 'while it is added to the sums');
  await ending;
  value = await read(group, [a, c]);
  t.equal(value(retries), 3, 'an answer of one that is gone does not count again');
  value = await read(group, [c]);
  t.equal(value(retries), 3);
  t.equal(value(inserts), 2, 'sums of sums');
});
