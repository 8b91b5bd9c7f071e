import tap, { type Test } from 'tap';
import type { Installation } from '../cdrhouse-program.ts';
import { testServers } from '../test-servers.ts';
import { ClickhouseProxy, insertsInto, type Hold, type Matches } from './clickhouse-proxy.ts';
import {
  callLines,
  exitWithin,
  house,
  judgeCalls,
  judgeTables,
  Load,
  readAll,
  storedCalls,
} from './harness.ts';
import { Sender } from './topic.ts';

/** kill -9 exactly between two steps of a replay, then again: equal sets. */
const servers = testServers(import.meta.url);
/** More than a page; lines a message so that a page ends within one. */
const COUNT = 12_000;
const PAGE = 10_000;
const PER_MESSAGE = 7;

interface Point {
  readonly name: string;
  readonly when: 'before' | 'after';
  /** The request that is held, of those behind so many ledger rows. */
  readonly at: Matches;
  readonly pages: number;
  /** What stands in both tables at this point. */
  readonly standing: { readonly cdr: number; readonly byNumber: number };
  /** What the second replay finds open. */
  readonly open: number;
  readonly audit: RegExp;
}

const CLEAN = /"differences":\[\]/;
const FIRST_PAGE = { cdr: PAGE, byNumber: PAGE };
const BOTH_PAGES = { cdr: COUNT, byNumber: COUNT };

/** The marks of this state. */
function marks(state: string): Matches {
  return (exchange) =>
    insertsInto('dead_letter_marks')(exchange) && exchange.body.includes(`"state":"${state}"`);
}

const POINTS: Point[] = [
  {
    name: 'before the second page',
    when: 'before',
    at: marks('replaying'),
    pages: 1,
    standing: FIRST_PAGE,
    open: COUNT - PAGE,
    audit: CLEAN,
  },
  {
    name: 'between the inserts: cdr_by_number is there, cdr is not',
    when: 'before',
    at: insertsInto('cdr'),
    pages: 1,
    standing: { cdr: PAGE, byNumber: COUNT },
    open: COUNT - PAGE,
    audit: /tables_differ/,
  },
  {
    name: 'between the inserts and the ledger',
    when: 'before',
    at: insertsInto('ingest_ledger'),
    pages: 1,
    standing: BOTH_PAGES,
    open: COUNT - PAGE,
    audit: CLEAN,
  },
  {
    name: 'between the ledger and the marks',
    when: 'before',
    at: marks('replayed'),
    pages: 2,
    standing: BOTH_PAGES,
    open: COUNT - PAGE,
    audit: CLEAN,
  },
  {
    name: 'behind the marks',
    when: 'after',
    at: marks('replayed'),
    pages: 2,
    standing: BOTH_PAGES,
    open: 0,
    audit: CLEAN,
  },
];

/** Writes the settings of the one feed; with another format than that of the calls all are rejected. */
function setFeed(installation: Installation, format: string, timeZone = 'UTC'): void {
  const feeds = [{ name: 'default', topic: installation.database, format, time_zone: timeZone }];
  installation.write('cdrhouse.yaml', JSON.stringify({ feeds, kafka: { topic_partitions: 1 } }));
}

/** An installation whose calls were all rejected, and that could read them now. */
async function rejectedCalls(
  t: Test,
  index: number,
  lines: readonly string[],
): Promise<{ installation: Installation; load: Load; proxy: ClickhouseProxy }> {
  const installation = await house(t, servers, index, {
    partitions: 1,
    environment: { CDRHOUSE_INGEST_BATCH_MESSAGES_MAX: '1000' },
  });
  setFeed(installation, 'asterisk-csv');
  const load = new Load(1).calls(lines, PER_MESSAGE);
  const sender = await Sender.connect(t, servers.kafka);
  await sender.send(installation.database, load.messages);
  const { rejected } = await readAll(installation);
  if (rejected !== lines.length) throw new Error(`${rejected} of ${lines.length} were rejected`);
  setFeed(installation, 'canonical-csv');
  const proxy = await ClickhouseProxy.start(t, servers.clickhouse);
  installation.environment['CDRHOUSE_CLICKHOUSE_URL'] = proxy.url;
  return { installation, load, proxy };
}

async function killedAt(installation: Installation, hold: Hold, standing?: Point['standing']): Promise<void> {
  const replay = installation.start('dead-letters', 'replay', '--json');
  try {
    await Promise.race([
      hold.reached,
      replay.ended.then(({ stderr }) => Promise.reject(new Error(`ended before it was killed: ${stderr}`))),
    ]);
    if (standing !== undefined) {
      // The inserts run side by side: wait for those that are not held.
      const deadline = Date.now() + 15_000;
      for (;;) {
        const { cdr, byNumber } = await storedCalls(installation);
        if (cdr === standing.cdr && byNumber === standing.byNumber) break;
        if (Date.now() > deadline) throw new Error(`stands at ${cdr} and ${byNumber}`);
      }
    }
  } finally {
    replay.child.kill('SIGKILL');
    await replay.ended;
  }
  await hold.release();
}

for (const [index, point] of POINTS.entries()) {
  await tap.test(`kill -9 of a replay ${point.name}`, async (t) => {
    const { installation, load, proxy } = await rejectedCalls(t, index, callLines(700 + index, COUNT));
    const hold = proxy.hold(point.when, (exchange) => proxy.batches >= point.pages && point.at(exchange));
    await killedAt(installation, hold, point.standing);
    t.match((await installation.run('audit', '--json')).stdout, point.audit);

    t.match(await installation.json('dead-letters', 'replay', '--json'), {
      selected: point.open,
      stored: point.open,
      left: 0,
    });
    await judgeCalls(t, installation, load);
    await judgeTables(t, installation);
    const audit = await installation.run('audit', '--json');
    t.equal(audit.code, 0);
    t.match(JSON.parse(audit.stdout), { replayed: COUNT, accepted: 0, differences: [] });
  });
}

await tap.test('a replay that was broken off is finished with its own settings only', async (t) => {
  // Starts without a zone: another zone gives other sorting keys for the same record.
  const bare = callLines(790, 300).map((line) => line.replace(/Z,/, ','));
  const { installation, load, proxy } = await rejectedCalls(t, 5, bare);
  await killedAt(installation, proxy.hold('before', marks('replayed')), { cdr: 300, byNumber: 300 });
  setFeed(installation, 'canonical-csv', 'Europe/Paris');
  t.match(await installation.run('dead-letters', 'replay'), { code: 1, stderr: /READING_CHANGED/ });
  t.equal((await storedCalls(installation)).cdr, 300, 'nothing is stored twice');

  setFeed(installation, 'canonical-csv');
  t.match(await installation.json('dead-letters', 'replay', '--json'), { selected: 300, stored: 300 });
  t.equal((await storedCalls(installation)).cdr, load.lines.size);
  await judgeTables(t, installation);
});

await tap.test('two replays at once store each call once', async (t) => {
  const { installation, load, proxy } = await rejectedCalls(t, 6, callLines(791, 3000));
  // Both have read the letters before either has marked them.
  const hold = proxy.hold('before', marks('replaying'));
  const both = [1, 2].map(() => installation.start('dead-letters', 'replay', '--json'));
  const deadline = Date.now() + 30_000;
  while (hold.count() < 2 && Date.now() < deadline) await new Promise((resolve) => setTimeout(resolve, 20));
  t.equal(hold.count(), 2);
  await hold.release();
  for (const { ended } of both) {
    const { code, stdout } = await ended;
    t.equal(code, 0);
    t.match(JSON.parse(stdout), { selected: 3000, stored: 3000 });
  }
  await judgeCalls(t, installation, load);
  await judgeTables(t, installation);
  t.match(await installation.run('audit'), { code: 0 });
});

await tap.test('a replay that cannot begin ends, and no erasure waits for it', async (t) => {
  const installation = await house(t, servers, 8, { partitions: 1 });
  const proxy = await ClickhouseProxy.start(t, servers.clickhouse);
  installation.environment['CDRHOUSE_CLICKHOUSE_URL'] = proxy.url;
  proxy.on(insertsInto('readings'), async (exchange) => {
    exchange.refuse(497, 'ACCESS_DENIED', 403);
    return Promise.resolve();
  });
  const replay = installation.start('dead-letters', 'replay', '--json');
  t.equal(await exitWithin(30_000, replay), 1);
  t.match((await replay.ended).stderr, /CLICKHOUSE_REFUSED/);
  t.match(await installation.rows<object>('SELECT ended FROM {db}.ingest_writers FINAL'), [{ ended: 1 }]);
});

await tap.test('SIGTERM ends a replay after its page, and says what is left', async (t) => {
  const { installation, load, proxy } = await rejectedCalls(t, 7, callLines(792, COUNT));
  const hold = proxy.hold('before', insertsInto('ingest_ledger'));
  const replay = installation.start('dead-letters', 'replay', '--json');
  await hold.reached;
  replay.child.kill('SIGTERM');
  await hold.release();
  const { code, stdout } = await replay.ended;
  t.equal(code, 1);
  t.match(JSON.parse(stdout), { selected: COUNT, stored: PAGE, left: COUNT - PAGE });
  t.match(await installation.json('dead-letters', 'replay', '--json'), { selected: COUNT - PAGE });
  await judgeCalls(t, installation, load);
});
