import { readFileSync } from 'node:fs';
import tap from 'tap';
import { parse } from 'yaml';
import { freePort } from '../../deploy/local/ports.ts';
import { fixture, Installation } from '../cdrhouse-program.ts';
import { guides, markedBlock, readDocument } from '../documents.ts';
import { testServers } from '../test-servers.ts';

/** Blocks of README.md and docs/operations.md as they stand there, and all statements by their grammar. */
const servers = testServers(import.meta.url);
const readme = readDocument('README.md');
const operations = readDocument('docs/operations.md');

interface FeedDocument {
  readonly feeds: readonly object[];
}

await tap.test('the way of a file in README.md', async (t) => {
  const settings = parse(markedBlock(readme, 'settings')) as FeedDocument;
  const port = await freePort();
  const installation = new Installation(
    tap,
    servers,
    0,
    { ...settings, feeds: settings.feeds.map((feed) => ({ ...feed, topic: servers.databases[0] })) },
    { CDRHOUSE_QUERY_PORT: String(port) },
  );
  const url = `http://127.0.0.1:${port}`;
  const file = fixture('asterisk-21-columns.csv');
  const script = `set -e
${markedBlock(readme, 'try').replace('test/fixtures/asterisk-21-columns.csv', file)}
until curl -s --fail -o /dev/null ${url}/readyz; do sleep 0.2; done
${markedBlock(readme, 'look up').replace('http://127.0.0.1:8080', url)}
# All that the script started, other than its shell.
trap '' TERM; kill 0; wait`;
  const { code, stdout, stderr } = await installation.startScript(t, script).ended;
  t.equal(code, 0, stderr);
  const answer = JSON.parse(stdout.trimEnd().split('\n').at(-1)!) as { data: { call_id: string }[] };
  const lines = readFileSync(file, 'utf8').split('\n');
  const wanted = lines
    .filter((line) => line.includes('"211474"'))
    .map((line) => /"(\d+\.\d+)","",""/.exec(line)![1]!);
  t.equal(wanted.length, 2);
  t.strictSame(new Set(answer.data.map((call) => call.call_id)), new Set(wanted));
});

await tap.test('backup and restore, beside an ingest that goes on', async (t) => {
  const installation = new Installation(tap, servers, 1, {
    feeds: [{ name: 'a', topic: servers.databases[1] }],
  });
  const { database } = installation;
  /** Statements of a block, for the database and a backup of this test. */
  const statements = (mark: string): string[] =>
    markedBlock(operations, mark)
      .replaceAll(/\bcdrhouse\b/g, database)
      .replaceAll('2026-03-01', database)
      .split(';');
  const sent: string[] = [];
  const send = async (seed: number): Promise<void> => {
    const { stdout } = await installation.run('generate', '--count', '200', '--seed', String(seed));
    const lines = stdout.trimEnd().split('\n');
    sent.push(...lines.map((line) => line.split(',')[6]!));
    const file = installation.write(`${seed}.csv`, stdout);
    t.match(await installation.json('ship', '--feed', 'a', file), { lines: lines.length });
  };
  const read = async (): Promise<void> => {
    t.match(await installation.run('ingest', '--until-idle'), { code: 0 });
  };
  const stored = async (): Promise<string[]> =>
    (await installation.rows<{ call_id: string }>('SELECT call_id FROM {db}.cdr FINAL')).map(
      (row) => row.call_id,
    );

  t.match(await installation.run('migrate'), { code: 0 });
  await send(1);
  await read();
  const [first, ...rest] = statements('backup');
  await installation.statement(first!);
  await send(2);
  await read();
  for (const statement of rest) await installation.statement(statement);
  await send(3);
  await read();
  t.strictSame((await stored()).sort(), [...sent].sort(), 'all are there before');

  await installation.statement('DROP DATABASE {db} SYNC SETTINGS max_table_size_to_drop = 0');
  for (const statement of statements('restore')) await installation.statement(statement);
  t.not((await stored()).length, sent.length, 'the backup is older');
  const after = await installation.startScript(t, `set -e\n${markedBlock(operations, 'after restore')}`)
    .ended;
  t.equal(after.code, 0, after.stderr);
  t.strictSame((await stored()).sort(), [...sent].sort(), 'each record once');

  const [place] = await installation.rows<{ topic: string }>(statements('read up to')[0]!);
  t.equal(place!.topic, servers.databases[1]);
});

await tap.test('statements are such', async (t) => {
  const installation = new Installation(tap, servers, 2, {});
  let found = 0;
  for (const { language, text, place } of guides().flatMap(({ blocks }) => blocks)) {
    if (language !== 'sql') continue;
    for (const statement of text.split(';').filter((each) => each.trim() !== '')) {
      const query = `SELECT formatQuery('${statement.replaceAll('\\', '\\\\').replaceAll("'", "\\'")}') AS text`;
      await t.resolves(installation.rows(query), place);
      found++;
    }
  }
  t.ok(found > 8);
});
