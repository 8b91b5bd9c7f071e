import tap from 'tap';
import { compareVersions } from '../../retention/migrate.ts';
import { CLICKHOUSE_VERSION_MIN, MIGRATIONS, SCHEMA_VERSION } from '../../schemas/migrations.ts';

await tap.test('a server is too old by its numbers, not by its text', async (t) => {
  t.ok(compareVersions('25.12.9.1', CLICKHOUSE_VERSION_MIN) < 0);
  t.ok(compareVersions('26.2.1', CLICKHOUSE_VERSION_MIN) < 0);
  t.equal(compareVersions('26.3.0.1', CLICKHOUSE_VERSION_MIN), 0);
  t.ok(compareVersions('26.10.1', CLICKHOUSE_VERSION_MIN) > 0);
  t.ok(compareVersions('100.1', CLICKHOUSE_VERSION_MIN) > 0);
  t.ok(compareVersions('', CLICKHOUSE_VERSION_MIN) < 0, 'what has no version is too old');
});

await tap.test('migrations are numbered from 1 without a hole, and can run twice', async (t) => {
  t.strictSame(
    MIGRATIONS.map(({ number }) => number),
    Array.from({ length: SCHEMA_VERSION }, (_, i) => i + 1),
  );
  for (const { statements, title } of MIGRATIONS) {
    for (const statement of statements({ database: 'd', retentionMonths: 36 })) {
      t.match(statement, /IF (NOT )?EXISTS|MODIFY SETTING|MODIFY COLUMN \w+ CODEC/, title);
    }
  }
});

await tap.test(
  'no statement drops the markers of deleted rows, which a replay would bring back',
  async (t) => {
    const all = MIGRATIONS.flatMap(({ statements }) =>
      statements({ database: 'd', retentionMonths: 36 }),
    ).join('\n');
    t.notMatch(
      all,
      /CLEANUP|allow_experimental_replacing_merge_with_cleanup|enable_replacing_merge_with_cleanup/i,
    );
  },
);
