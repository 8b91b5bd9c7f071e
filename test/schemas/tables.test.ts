import tap from 'tap';
import { constantColumns, ingestVersion, type StoredSource } from '../../schemas/tables.ts';

function version(...of: Parameters<typeof constantColumns>): string | undefined {
  return constantColumns(...of).find(({ name }) => name === 'version')?.expression;
}

function source(feed: string, partition: number, correction: number): StoredSource {
  return { feed, partition, correction };
}

await tap.test('the version of a row falls with time', async (t) => {
  t.equal(version('cdr', 1000), `toUInt64(${2 ** 32 - 1 - 1000})`);
  t.ok(ingestVersion(1001) < ingestVersion(1000));
  t.equal(version('dead_letters', 1000), undefined);
});

await tap.test('rows of a source with a correction stand above its markers, others do not', async (t) => {
  const plain = `toUInt64(${2 ** 32 - 1 - 1000})`;
  for (const table of ['cdr', 'cdr_by_number'] as const) {
    t.equal(version(table, 1000, [source('a', 0, 0), source('b', 0, 0)]), plain);
    t.equal(
      version(table, 1000, [source('a', 0, 18), source('b', 0, 18)]),
      `${plain} + bitShiftLeft(toUInt64(18), 32)`,
      'all have the same one',
    );
    t.equal(
      version(table, 1000, [
        source('a', 0, 0),
        source('a', 1, 18),
        source('a', 3, 18),
        source('b', 2, 18),
        source('b', 1, 19),
      ]),
      `multiIf(feed = 'a' AND source_partition IN (1, 3) OR feed = 'b' AND source_partition IN (2), ${plain} + bitShiftLeft(toUInt64(18), 32), ` +
        `feed = 'b' AND source_partition IN (1), ${plain} + bitShiftLeft(toUInt64(19), 32), ${plain})`,
    );
  }
});
