/**
 * `make soak MINUTES=10 SEED=1 RATE=2000`: a steady load through real servers while processes of every kind are
 * killed and stopped at random; in the end the sets must be equal. The same seed draws the same faults, though not
 * at the same moments of the programs. Bounded; not part of the tests.
 */
import { appendFileSync, rmSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import tap from 'tap';
import {
  startClickhouse,
  startKafka,
  type ClickhouseServer,
  type KafkaServer,
} from '../../deploy/local/local-servers.ts';
import { SESSION, SESSION_MS, within, type Running } from '../cdrhouse-program.ts';
import { seeded } from '../seeded.ts';
import { callLines, childrenOf, house, judge, ledgerStored, Load, readAll, startIngest } from './harness.ts';
import { Sender } from './topic.ts';
import { wholeNumber } from '../../bench/whole-number.ts';

const { values } = parseArgs({
  options: {
    minutes: { type: 'string', default: '10' },
    seed: { type: 'string', default: '1' },
    rate: { type: 'string', default: '2000' },
  },
});
const MINUTES = wholeNumber('minutes', values.minutes, 1, 60);
const SEED = wholeNumber('seed', values.seed, 0, 2 ** 31);
/** Calls a second. */
const RATE = wholeNumber('rate', values.rate, 10, 10_000);

const PROCESSES = 3;
const PARTITIONS = 2;
const TOPICS = ['soak.north', 'soak.south', 'soak.west'];
const LINES_PER_MESSAGE = 20;
const TICK_MS = 500;
const SEND_MS_MAX = 110_000;
const DRAIN_MS_MAX = 180_000;
const PROGRESS_MS = 10_000;

const began = performance.now();
const say = (text: string): void => {
  process.stderr.write(`${String(Math.round((performance.now() - began) / 1000)).padStart(4)} s  ${text}\n`);
};

/** What all ingest processes said, kept where something differs. */
const LOG = join(tmpdir(), `cdrhouse-soak-${SEED}.log`);
rmSync(LOG, { force: true });

tap.setTimeout((MINUTES + 8) * 60_000);
await tap.test(`soak of ${MINUTES} min, seed ${SEED}`, async (t) => {
  const dataDir = await mkdtemp(join(tmpdir(), 'cdrhouse-soak-'));
  t.teardown(() => rm(dataDir, { recursive: true, force: true, maxRetries: 5 }));
  let kafka: KafkaServer = await startKafka({ dataDir, port: 0 });
  t.teardown(() => kafka.stop());
  let clickhouse: ClickhouseServer = await startClickhouse({ dataDir, port: 0 });
  t.teardown(() => clickhouse.stop());
  const servers = {
    reader: 'packed' as const,
    kafka: kafka.brokers,
    clickhouse: clickhouse.url,
    users: clickhouse.users,
    databases: ['cdrhouse_soak'],
  };
  const installation = await house(t, servers, 0, {
    settings: {
      feeds: TOPICS.map((topic) => ({ name: topic.split('.')[1], topic })),
      kafka: {
        topic_partitions: PARTITIONS,
        client: SESSION,
      },
    },
    environment: { CDRHOUSE_INGEST_PROCESSES: String(PROCESSES) },
  });
  const load = new Load(PARTITIONS);
  const endAt = performance.now() + MINUTES * 60_000;
  const left = (): number => endAt - performance.now();
  const done: Record<string, number> = {};
  const startLogged = (): Running => {
    const running = startIngest(t, installation);
    running.child.stderr?.on('data', (chunk: Buffer) => appendFileSync(LOG, chunk));
    return running;
  };
  let ingest = startLogged();
  // The servers end with this process, ingest does not.
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.once(signal, () => {
      ingest.child.kill('SIGKILL');
      process.exit(1);
    });
  }

  const faults: readonly { name: string; weight: number; make: (random: () => number) => Promise<void> }[] = [
    { name: 'kill an ingest process', weight: 4, make: (random) => killChild(ingest, random) },
    {
      name: 'kill the parent of ingest',
      weight: 2,
      make: async () => {
        const { child } = ingest;
        child.kill('SIGKILL');
        await within(10_000, 'it is gone', () => child.exitCode !== null || child.signalCode !== null);
        ingest = startLogged();
      },
    },
    { name: 'stop an ingest process for a while', weight: 3, make: (random) => stopChild(ingest, random) },
    {
      name: 'kill ClickHouse',
      weight: 2,
      make: async (random) => {
        process.kill(clickhouse.pid, 'SIGKILL');
        await clickhouse.died;
        await delay(random() * 5000);
        clickhouse = await startClickhouse({ dataDir, port: clickhouse.port });
      },
    },
    {
      name: 'kill the broker',
      weight: 1,
      make: async (random) => {
        process.kill(kafka.pid, 'SIGKILL');
        await kafka.died;
        await delay(random() * 5000);
        kafka = await startKafka({ dataDir, port: kafka.port });
      },
    },
  ];

  const sending = send(await Sender.connect(t, servers.kafka), load, left);
  // Met when it is awaited; until then it must not count as unhandled.
  sending.catch(() => undefined);
  const random = seeded(SEED);
  let saidAt = 0;
  while (left() > 0) {
    await delay(Math.min(left(), 2000 + random() * 8000));
    let ticket = random() * faults.reduce((sum, { weight }) => sum + weight, 0);
    const fault = faults.find(({ weight }) => (ticket -= weight) < 0)!;
    const behind = load.accepted - (await ledgerStored(installation));
    const name = `${fault.name}${behind > 0 ? '' : ' (without work in hand)'}`;
    done[name] = (done[name] ?? 0) + 1;
    say(`${name}; ${behind} calls behind`);
    await fault.make(random);
    if (ingest.child.exitCode !== null) {
      const { stderr } = await ingest.ended;
      const reason = /^cdrhouse: ([A-Z_]+)/m.exec(stderr)?.[1] ?? 'unknown';
      t.fail(`ingest ended by itself: ${reason}`, { stderr: stderr.slice(-4000) });
      say(`ingest ended by itself: ${reason}; started again`);
      ingest = startLogged();
    }
    if (performance.now() - saidAt > PROGRESS_MS) {
      saidAt = performance.now();
      say(
        `sent ${load.accepted} calls, ${load.rejected.length} bad; stored ${await ledgerStored(installation)}`,
      );
    }
  }
  await sending;
  say(`all is sent: ${load.accepted} calls, ${load.rejected.length} bad`);
  await within(DRAIN_MS_MAX, 'all is stored', async () => {
    await delay(500);
    return (await ledgerStored(installation)) >= load.accepted || ingest.child.exitCode !== null;
  });
  ingest.child.kill('SIGTERM');
  t.equal((await ingest.ended).code, 0, 'ingest ends in order');
  await readAll(installation);
  for (const [name, count] of Object.entries(done)) say(`${count} x ${name}`);
  await judge(t, installation, load, { topics: TOPICS });
  if (t.passing()) rmSync(LOG, { force: true });
});

say(
  tap.passing()
    ? `equal sets, seed ${SEED}`
    : `something differs, seed ${SEED}; what ingest said is in ${LOG}`,
);

/** Sends calls at a steady rate, one of a hundred records bad, until the time is over. */
async function send(sender: Sender, load: Load, left: () => number): Promise<void> {
  let seed = SEED * 1000;
  let sent = 0;
  const startedAt = performance.now();
  while (left() > 0) {
    // After an absence of the broker it catches up.
    const due = ((performance.now() - startedAt) / 1000) * RATE - sent;
    const count = Math.min(20_000, Math.floor(due / LINES_PER_MESSAGE) * LINES_PER_MESSAGE);
    if (count > 0) {
      const from = load.messages.length;
      load.calls(callLines(seed++, count), LINES_PER_MESSAGE, 'with bad lines');
      sent += count;
      const messages = load.since(from);
      for (const [index, topic] of TOPICS.entries()) {
        // Two messages a topic in turn, one for each partition.
        const own = messages.filter((_, at) => Math.floor(at / PARTITIONS) % TOPICS.length === index);
        await sender.send(topic, own, SEND_MS_MAX);
      }
    }
    await delay(TICK_MS);
  }
}

function oneOf<T>(list: readonly T[], random: () => number): T | undefined {
  return list[Math.floor(random() * list.length)];
}

async function killChild({ child }: Running, random: () => number): Promise<void> {
  const pid = oneOf(childrenOf(child.pid!), random);
  if (pid !== undefined) process.kill(pid, 'SIGKILL');
  return Promise.resolve();
}

/** Stops a process, sometimes for longer than its session. */
async function stopChild({ child }: Running, random: () => number): Promise<void> {
  const pid = oneOf(childrenOf(child.pid!), random);
  if (pid === undefined) return;
  process.kill(pid, 'SIGSTOP');
  await delay(1000 + random() * 2 * SESSION_MS);
  process.kill(pid, 'SIGCONT');
}
