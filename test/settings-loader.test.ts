import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import tap from 'tap';
import { loadSettings } from '../settings-loader.ts';

const folder = mkdtempSync(join(tmpdir(), 'cdrhouse-settings-'));
tap.teardown(() => rmSync(folder, { recursive: true }));

function written(text: string): string {
  const path = join(folder, `${Math.random()}.yaml`);
  writeFileSync(path, text);
  return path;
}

await tap.test('the environment lies over the file, the file over the defaults', async (t) => {
  const path = written(
    'kafka:\n  brokers: a:1\n  group: from-file\n  client: { sasl.username: all }\nfeeds:\n  - name: x\n    time_zone: Europe/Paris\n',
  );
  const settings = loadSettings({
    CDRHOUSE_CONFIG: path,
    CDRHOUSE_KAFKA_BROKERS: 'b:2',
    CDRHOUSE_RETENTION_MONTHS: '600',
    CDRHOUSE_KAFKA_CLIENT: '{"security.protocol":"ssl"}',
    CDRHOUSE_CLICKHOUSE_PASSWORD: '',
  });
  t.equal(settings.kafka.brokers, 'b:2');
  t.equal(settings.kafka.group, 'from-file');
  t.equal(settings.retention.months, 600);
  t.same(settings.kafka.client, { 'security.protocol': 'ssl' }, 'as a whole');
  t.equal(settings.feeds[0]!.time_zone, 'Europe/Paris');
});

await tap.test('what is wrong in the environment is named by its variable or path', async (t) => {
  t.throws(
    () => loadSettings({ CDRHOUSE_KAFKA_BROKER: 'x' }),
    /CDRHOUSE_KAFKA_BROKER: there is no setting kafka\.broker/,
  );
  t.throws(() => loadSettings({ CDRHOUSE_RETENTION_MONTHS: 'many' }), /retention\.months/);
  t.throws(() => loadSettings({ CDRHOUSE_RETENTION_MONTHS: '' }), /retention\.months/);
  t.throws(() => loadSettings({ CDRHOUSE_KAFKA_CLIENT: '{' }), /CDRHOUSE_KAFKA_CLIENT: must be a JSON value/);
});

await tap.test('a named file must exist, and must be a mapping', async (t) => {
  t.throws(() => loadSettings({ CDRHOUSE_CONFIG: join(folder, 'none.yaml') }), /there is no file/);
  t.throws(() => loadSettings({ CDRHOUSE_CONFIG: written('- a\n') }), /must be a mapping/);
  t.throws(() => loadSettings({ CDRHOUSE_CONFIG: written('a: [\n') }), /yaml/);
  t.equal(loadSettings({ CDRHOUSE_CONFIG: written('') }).kafka.group, 'cdrhouse');
});

await tap.test('variables of other programs are none of ours', async (t) => {
  t.equal(loadSettings({ CDRHOUSE_TEST_KAFKA: 'x', HOME: '/' }).kafka.group, 'cdrhouse');
});
