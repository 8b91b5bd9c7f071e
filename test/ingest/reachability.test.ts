import tap from 'tap';
import { Reachability, worstReadiness, type Readiness, type ServerState } from '../../ingest/reachability.ts';
import { until } from '../cdrhouse-program.ts';

function readiness(kafka: ServerState['state'], since: string, reading = true): Readiness {
  return {
    ready: reading && kafka === 'reachable',
    reading,
    kafka: { state: kafka, since },
    clickhouse: { state: 'reachable', since: '2026-03-01T00:00:00.000Z' },
  };
}

await tap.test('what the probes say, at once and with the time of the change', async (t) => {
  const answers: { kafka: boolean | undefined; clickhouse: boolean | Error } = {
    kafka: undefined,
    clickhouse: new Error('refused'),
  };
  const reachability = new Reachability({
    kafka: () => Promise.resolve(answers.kafka),
    clickhouse: () =>
      answers.clickhouse instanceof Error
        ? Promise.reject(answers.clickhouse)
        : Promise.resolve(answers.clickhouse),
  });
  t.teardown(() => reachability.stop());
  t.match(reachability.readiness(true), { ready: false, kafka: { state: 'unknown' } }, 'before it has asked');
  const beganMs = Date.now();
  reachability.start();
  await until('asked', () => reachability.readiness(true).clickhouse.state === 'unreachable');
  t.ok(Date.parse(reachability.readiness(true).clickhouse.since) >= beganMs);
  t.match(reachability.readiness(true), { ready: false, kafka: { state: 'unknown' } });
  answers.kafka = true;
  answers.clickhouse = true;
  await until('both are there', () => reachability.readiness(true).ready);
  t.equal(reachability.readiness(false).ready, false, 'not before it reads');
});

await tap.test('of several processes the worst counts', (t) => {
  const [early, late] = ['2026-03-01T01:00:00.000Z', '2026-03-01T02:00:00.000Z'];
  const both = [readiness('reachable', early), readiness('reachable', late)];
  t.match(worstReadiness(both, 2), {
    ready: true,
    kafka: { state: 'reachable', since: late },
    processes: { wanted: 2, answering: 2 },
  });
  t.match(worstReadiness(both, 3), { ready: false, processes: { wanted: 3, answering: 2 } });
  t.match(worstReadiness([readiness('unreachable', late), readiness('unreachable', early)], 2), {
    ready: false,
    kafka: { state: 'unreachable', since: early },
  });
  t.match(worstReadiness([readiness('unknown', early), readiness('unreachable', late)], 2), {
    kafka: { state: 'unreachable', since: late },
  });
  t.match(worstReadiness([readiness('reachable', early), readiness('reachable', early, false)], 2), {
    ready: false,
    reading: false,
  });
  t.match(worstReadiness([], 2), { ready: false, kafka: { state: 'unknown' } });
  t.end();
});
