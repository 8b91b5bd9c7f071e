import tap from 'tap';
import { within } from '../cdrhouse-program.ts';
import { testServers } from '../test-servers.ts';
import { ClickhouseProxy, insertsInto, type Hold } from './clickhouse-proxy.ts';
import { callLines, house, judge, ledgerStored, Load, readAll, startIngest, storedCalls } from './harness.ts';
import { Observer, Sender } from './topic.ts';

/** kill -9 exactly between two steps of the writer, then a restart: equal sets. */
const servers = testServers(import.meta.url);
const COUNT = 3000;
const PARTITIONS = 2;

/** What stands in the tables and the ledger while the process stands still at a point. */
interface Standing {
  readonly cdr: number;
  readonly byNumber: number;
  readonly ledger: number;
  readonly deadLetters: number;
}

interface Point {
  readonly name: string;
  hold(proxy: ClickhouseProxy, later: () => boolean): Hold;
  /** True when the process stands exactly there. */
  at(standing: Standing): boolean;
}

const POINTS: Point[] = [
  {
    name: 'before the insert',
    hold: (proxy, later) => {
      const call = insertsInto('cdr', 'cdr_by_number', 'dead_letters');
      return proxy.hold('before', (exchange) => later() && call(exchange));
    },
    at: ({ cdr, byNumber, ledger }) => cdr === ledger && byNumber === ledger,
  },
  {
    name: 'between the inserts: cdr is there, cdr_by_number is not',
    hold: (proxy, later) =>
      proxy.hold('before', (exchange) => later() && insertsInto('cdr_by_number')(exchange)),
    at: ({ cdr, byNumber, ledger }) => cdr > ledger && byNumber === ledger,
  },
  {
    name: 'between the inserts: cdr_by_number is there, cdr is not',
    hold: (proxy, later) => proxy.hold('before', (exchange) => later() && insertsInto('cdr')(exchange)),
    at: ({ cdr, byNumber, ledger }) => cdr === ledger && byNumber > ledger,
  },
  {
    name: 'between the inserts and the ledger',
    hold: (proxy, later) =>
      proxy.hold('before', (exchange) => later() && insertsInto('ingest_ledger')(exchange)),
    at: ({ cdr, byNumber, ledger }) => cdr > ledger && byNumber === cdr,
  },
  {
    name: 'between the ledger and the commit',
    hold: (proxy, later) =>
      proxy.hold('after', (exchange) => later() && insertsInto('ingest_ledger')(exchange)),
    at: ({ cdr, byNumber, ledger }) => cdr === ledger && byNumber === cdr,
  },
];

for (const [index, point] of POINTS.entries()) {
  await tap.test(`kill -9 ${point.name}`, async (t) => {
    // One batch at a time, so that nothing else moves while it stands.
    const installation = await house(t, servers, index, {
      partitions: PARTITIONS,
      environment: { CDRHOUSE_INGEST_BATCHES_IN_FLIGHT_MAX: '1' },
    });
    const proxy = await ClickhouseProxy.start(t, servers.clickhouse);
    installation.environment['CDRHOUSE_CLICKHOUSE_URL'] = proxy.url;
    const load = new Load(PARTITIONS).calls(callLines(100 + index, COUNT), 10, 'with bad lines');
    const sender = await Sender.connect(t, servers.kafka);
    await sender.send(installation.database, load.messages);

    const hold = point.hold(proxy, () => proxy.batches >= 2);
    const ingest = startIngest(t, installation);
    await hold.reached;
    let standing: Standing | undefined;
    await within(15_000, `ingest stands ${point.name}`, async () => {
      standing = { ...(await storedCalls(installation)), ledger: await ledgerStored(installation) };
      return point.at(standing);
    });
    t.ok(standing!.ledger > 0 && standing!.ledger < COUNT, `killed with work in hand: ${standing!.ledger}`);
    ingest.child.kill('SIGKILL');
    await ingest.ended;
    await hold.release();

    const observer = await Observer.connect(t, servers.kafka, installation.database);
    const committed = await observer.committed(installation.database, [0, 1]);
    const ledgerEnd = proxy.ranges.reduce((sum, range) => sum + range.next_offset - range.from_offset, 0);
    const commitEnd = [...committed.values()].reduce((sum, offset) => sum + offset, 0);
    t.ok(commitEnd <= ledgerEnd, 'Kafka was told nothing that the ledger does not hold');
    if (point.name.endsWith('commit')) t.ok(commitEnd < ledgerEnd, 'the last batch was not committed');

    const ledger = await ledgerStored(installation);
    const summary = await readAll(installation);
    t.equal(summary.stored, load.accepted - ledger, 'it goes on where the ledger stands');
    await judge(t, installation, load);
  });
}
