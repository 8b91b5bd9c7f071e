import type { Command } from 'commander';
import { CdrhouseError } from '../schemas/errors.ts';
import { moment, packageVersion, print, readSettings, say, stopSignal, wholeNumber } from './command.ts';

/** Servers, tables and services. */
export function addServices(program: Command): void {
  program
    .command('demo')
    .description('local servers, tables, topics, ingest, API and a stream of sample calls, until Ctrl-C')
    .option('--seconds <n>', 'end by itself after this time, with a summary', wholeNumber(1))
    .option('--rate <n>', 'calls a second', wholeNumber(1), 2000)
    .option('--data-dir <path>', 'where the servers keep their data', '.cdrhouse/demo')
    .action(async (options: { seconds?: number; rate: number; dataDir: string }) => {
      const { runDemo } = await import('../deploy/local/demo.ts');
      process.exitCode = await runDemo({ ...options, program: process.argv[1]! });
    });

  const local = program
    .command('local')
    .description('embedded Kafka and ClickHouse for trying out and tests');
  local
    .command('up')
    .description('both servers in the foreground; one JSON line on stdout once both answer')
    .option('--data-dir <path>', 'where they keep their data', '.cdrhouse/local')
    .option('--kafka-port <port>', '0: any free one', wholeNumber(0, 65_535), 9092)
    .option('--clickhouse-port <port>', '0: any free one', wholeNumber(0, 65_535), 8123)
    .action(async (options: { dataDir: string; kafkaPort: number; clickhousePort: number }) => {
      const { localUpCommand } = await import('../deploy/local/command.ts');
      process.exitCode = await localUpCommand(options);
    });

  program
    .command('migrate')
    .description('create or upgrade the tables and create missing feed topics; again = no change')
    .option(
      '--print-grants',
      "print the SQL for the three database users of an operator's own ClickHouse, and do nothing",
    )
    .option('--json', 'print the result as JSON')
    .action(async (options: { printGrants?: boolean; json?: boolean }) => {
      const settings = await readSettings();
      if (options.printGrants === true) {
        const { grantStatements } = await import('../schemas/grants.ts');
        print(`${grantStatements(settings.clickhouse.database).join('\n')}\n`);
        return;
      }
      const [{ withRetentionClient }, { migrateDatabase }, { createMissingTopics }] = await Promise.all([
        import('../retention/clickhouse.ts'),
        import('../retention/migrate.ts'),
        import('../ingest/ship/topics.ts'),
      ]);
      const { applied, schemaVersion } = await withRetentionClient(settings, (client) =>
        migrateDatabase(client, settings, packageVersion()),
      );
      const topics = await createMissingTopics(settings);
      if (options.json === true)
        print(`${JSON.stringify({ schema_version: schemaVersion, applied, topics_created: topics })}\n`);
      else {
        say(
          applied.length === 0
            ? `tables are at version ${schemaVersion}, nothing to do`
            : `applied: ${applied.join(', ')}`,
        );
        say(topics.length === 0 ? 'all topics exist' : `topics created: ${topics.join(', ')}`);
      }
    });

  const ingest = program
    .command('ingest')
    .description('read Kafka into ClickHouse')
    .option(
      '--until-idle',
      'end when every partition is read to the end that it had at start; JSON summary on stdout',
    )
    .action(async (options: { untilIdle?: boolean }) => {
      const settings = await readSettings();
      const { runIngest } = await import('../ingest/main.ts');
      const untilIdle = options.untilIdle === true;
      const summary = await runIngest({ settings, untilIdle, stop: stopSignal() });
      if (untilIdle) print(`${JSON.stringify(summary)}\n`);
    });
  ingest
    .command('rewind')
    .description(
      'have partitions read again from an earlier place; needs an idle group; JSON lines on stdout',
    )
    .requiredOption('--topic <name>', 'the topic')
    .option('--partition <n>', 'one partition; default: all', wholeNumber(0))
    .option('--to-offset <offset>', 'the first offset to read again', wholeNumber(0))
    .option('--to-time <time>', 'the first Kafka timestamp to read again, ISO 8601', moment)
    .option('--dry-run', 'only say what would be read again')
    .action(
      async (options: {
        topic: string;
        partition?: number;
        toOffset?: number;
        toTime?: number;
        dryRun?: boolean;
      }) => {
        const { topic, partition, toOffset, toTime } = options;
        if ((toOffset === undefined) === (toTime === undefined)) {
          throw new CdrhouseError('USAGE_WRONG', 'say either --to-offset or --to-time');
        }
        const { rewind } = await import('../ingest/positions.ts');
        const to = toOffset === undefined ? { timestampMs: toTime! } : { offset: toOffset };
        const moved = await rewind({
          settings: await readSettings(),
          topic,
          partition,
          to,
          dryRun: options.dryRun === true,
        });
        for (const line of moved) print(`${JSON.stringify(line)}\n`);
        const verb =
          options.dryRun === true ? 'would be read again' : 'will be read again by the next ingest';
        say(
          `${moved.reduce((sum, { from_offset, to_offset }) => sum + from_offset - to_offset, 0)} offsets ${verb}`,
        );
      },
    );
  ingest
    .command('accept-gap')
    .description('go on behind records that Kafka lost before they were read; JSON lines on stdout')
    .option('--topic <name>', 'of this topic; default: all')
    .option('--partition <n>', 'of this partition; default: all', wholeNumber(0))
    .option('--dry-run', 'only say which partitions stand still, and why')
    .action(async (options: { topic?: string; partition?: number; dryRun?: boolean }) => {
      const { acceptGaps } = await import('../ingest/positions.ts');
      const { topic, partition } = options;
      const gaps = await acceptGaps(await readSettings(), { topic, partition }, options.dryRun === true);
      for (const line of gaps) print(`${JSON.stringify(line)}\n`);
      say(
        gaps.length === 0
          ? 'no partition stands still'
          : `${gaps.length} gap(s)${options.dryRun === true ? '' : ' accepted'}`,
      );
    });

  program
    .command('serve')
    .description('the HTTP API')
    .action(async () => {
      const settings = await readSettings();
      const { runQuery } = await import('../query/main.ts');
      await runQuery({ settings, stop: stopSignal(), onListening: (url) => say(`listening on ${url}`) });
    });
}
