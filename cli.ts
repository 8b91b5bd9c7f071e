#!/usr/bin/env node
import { Command, CommanderError, InvalidArgumentError, Option } from 'commander';
import { readFileSync } from 'node:fs';
import { CdrhouseError } from './schemas/errors.ts';
import type { Settings } from './schemas/settings.ts';
import { loadSettings } from './settings-loader.ts';

/**
 * The command `cdrhouse`: a table of subcommands. Data goes to stdout, messages to stderr; exit code 0 done,
 * 1 failed, 2 wrong usage or settings. Each subcommand loads its own service, so that `ship` needs no
 * ClickHouse client and production needs nothing of the local servers.
 */
const EXIT = { done: 0, failed: 1, usage: 2 } as const;

const program = new Command('cdrhouse')
  .description('call data records from telephone switches through Kafka into ClickHouse')
  .version(packageVersion())
  .exitOverride()
  .configureOutput({
    writeOut: (text) => process.stdout.write(text),
    writeErr: (text) => process.stderr.write(text),
  })
  .showSuggestionAfterError()
  .addHelpText(
    'after',
    '\nSettings: cdrhouse.yaml (path in CDRHOUSE_CONFIG) and CDRHOUSE_<SECTION>_<NAME>; see docs/settings.md.',
  );

program
  .command('demo')
  .description('local servers, tables, topics, ingest, API and a stream of sample calls, until Ctrl-C')
  .option('--seconds <n>', 'end by itself after this time, with a summary', wholeNumber(1))
  .option('--rate <n>', 'calls a second', wholeNumber(1), 2000)
  .option('--data-dir <path>', 'where the servers keep their data', '.cdrhouse/demo')
  .action(async (options: { seconds?: number; rate: number; dataDir: string }) => {
    const { runDemo } = await import('./deploy/local/demo.ts');
    process.exitCode = await runDemo({ ...options, program: process.argv[1]! });
  });

const local = program.command('local').description('embedded Kafka and ClickHouse for trying out and tests');
local
  .command('up')
  .description('both servers in the foreground; one JSON line on stdout once both answer')
  .option('--data-dir <path>', 'where they keep their data', '.cdrhouse/local')
  .option('--kafka-port <port>', '0: any free one', wholeNumber(0, 65_535), 9092)
  .option('--clickhouse-port <port>', '0: any free one', wholeNumber(0, 65_535), 8123)
  .action(async (options: { dataDir: string; kafkaPort: number; clickhousePort: number }) => {
    const { localUpCommand } = await import('./deploy/local/command.ts');
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
    const settings = readSettings();
    if (options.printGrants === true) {
      const { grantStatements } = await import('./schemas/grants.ts');
      print(`${grantStatements(settings.clickhouse.database).join('\n')}\n`);
      return;
    }
    const [{ retentionClient }, { migrateDatabase }, { createMissingTopics }] = await Promise.all([
      import('./retention/clickhouse.ts'),
      import('./retention/migrate.ts'),
      import('./ingest/ship/topics.ts'),
    ]);
    const client = retentionClient(settings);
    const context = { database: settings.clickhouse.database, retentionMonths: settings.retention.months };
    let migrated;
    try {
      migrated = await migrateDatabase(client, context, packageVersion());
    } finally {
      await client.close();
    }
    const { applied, schemaVersion } = migrated;
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
    const settings = readSettings();
    const { runIngest } = await import('./ingest/main.ts');
    const untilIdle = options.untilIdle === true;
    const summary = await runIngest({ settings, untilIdle, stop: stopSignal() });
    if (untilIdle) print(`${JSON.stringify(summary)}\n`);
  });
ingest
  .command('rewind')
  .description('have partitions read again from an earlier place; needs an idle group; JSON lines on stdout')
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
      const { rewind } = await import('./ingest/positions.ts');
      const to = toOffset === undefined ? { timestampMs: toTime! } : { offset: toOffset };
      const moved = await rewind({
        settings: readSettings(),
        topic,
        partition,
        to,
        dryRun: options.dryRun === true,
      });
      for (const line of moved) print(`${JSON.stringify(line)}\n`);
      const verb = options.dryRun === true ? 'would be read again' : 'will be read again by the next ingest';
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
    const { acceptGaps } = await import('./ingest/positions.ts');
    const { topic, partition } = options;
    const gaps = await acceptGaps(readSettings(), { topic, partition }, options.dryRun === true);
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
    const settings = readSettings();
    const { runQuery } = await import('./query/main.ts');
    await runQuery({ settings, stop: stopSignal(), onListening: (url) => say(`listening on ${url}`) });
  });

program
  .command('ship')
  .description("send switch files to a feed's topic; JSON summary on stdout")
  .argument('<files...>', 'files, or - for standard input')
  .option('--feed <name>', 'the feed; needed where there are several')
  .option('--again', 'send files again that were sent before')
  .action(async (files: string[], options: { feed?: string; again?: boolean }) => {
    const settings = readSettings();
    const [{ runShip }, { progressBar }] = await Promise.all([
      import('./ingest/ship/main.ts'),
      import('./progress.ts'),
    ]);
    const bar = progressBar('ship', 'bytes');
    try {
      const summary = await runShip({
        settings,
        files,
        feed: options.feed,
        again: options.again === true,
        progress: bar.update,
      });
      print(`${JSON.stringify(summary)}\n`);
    } finally {
      bar.stop();
    }
  });

program
  .command('generate')
  .description('synthetic calls as canonical-csv: same seed and options, same bytes; no two lines are equal')
  .requiredOption('--count <n>', 'how many', wholeNumber(0))
  .option('--seed <s>', 'seed', wholeNumber(0), 1)
  .option('--rate <r>', 'lines a second; default: as fast as it goes', wholeNumber(1))
  .option('--live', 'calls that end now; with --rate')
  .option('--from <day>', 'first day of the calls, YYYY-MM-DD; default: the last calendar year', utcDay)
  .option('--to <day>', 'day after the last one', utcDay)
  .option('--topic <name>', 'send to this topic instead of writing to stdout')
  .action(
    async (options: {
      count: number;
      seed: number;
      rate?: number;
      live?: boolean;
      from?: number;
      to?: number;
      topic?: string;
    }) => {
      const [{ generateToStream, generateToTopic }, { lastCalendarYear, liveLine, Traffic }] =
        await Promise.all([import('./ingest/generate/main.ts'), import('./ingest/generate/traffic.ts')]);
      const usual = lastCalendarYear(Date.now());
      const period = { from: options.from ?? usual.from, to: options.to ?? usual.to };
      if (period.from >= period.to) throw new CdrhouseError('USAGE_WRONG', '--from must be before --to');
      const { count, seed, rate } = options;
      const traffic = new Traffic(seed, count, period);
      const line = (index: number): string =>
        options.live === true ? liveLine(seed, index, Date.now()) : traffic.line(index);
      const generate = { count, line, rate, stop: stopSignal() };
      if (options.topic === undefined) await generateToStream(generate, process.stdout);
      else await generateToTopic(generate, readSettings(), options.topic);
    },
  );

program
  .command('formats')
  .description('the formats that a feed can name')
  .option('--json', 'print as JSON')
  .action(async (options: { json?: boolean }) => {
    const { FORMATS } = await import('./schemas/formats/index.ts');
    if (options.json === true) print(`${JSON.stringify(FORMATS)}\n`);
    else
      for (const { name, summary, durationMeans } of FORMATS)
        print(`${name}\n  ${summary}\n  ${durationMeans}\n`);
  });

const deadLetters = program.command('dead-letters').description('records that were rejected');
deadLetters
  .command('list')
  .description('rejected records, newest first; shows no content')
  .option('--feed <name>', 'of this feed')
  .option('--code <code>', 'with this code')
  .option('--limit <n>', 'how many', wholeNumber(1, 100_000), 100)
  .option('--json', 'print as JSON, one object a line')
  .action(async (options: { feed?: string; code?: string; limit: number; json?: boolean }) => {
    const { listDeadLetters } = await import('./retention/dead-letters.ts');
    for (const row of await listDeadLetters(readSettings(), options)) {
      print(
        options.json === true
          ? `${JSON.stringify(row)}\n`
          : `${row.place}  ${row.feed}  ${row.code}  ${row.field} at byte ${row.position}  ${row.rejected_at}\n`,
      );
    }
  });
deadLetters
  .command('show')
  .description('one rejected record with its bytes as sent (personal data)')
  .argument('<place>', 'topic/partition/offset/line, as list prints it')
  .action(async (place: string) => {
    const { showDeadLetter } = await import('./retention/dead-letters.ts');
    print(`${JSON.stringify(await showDeadLetter(readSettings(), place), null, 2)}\n`);
  });

program
  .command('audit')
  .description('compare ledger, both tables and dead letters, range by range; exit 1 on a difference')
  .option('--feed <name>', 'of this feed')
  .option('--strict', 'also a difference: records that are not at their place, as duplicates are not')
  .option('--json', 'print the report as JSON')
  .action(async (options: { feed?: string; strict?: boolean; json?: boolean }) => {
    const { audit } = await import('./retention/audit.ts');
    const { feed } = options;
    const report = await audit(readSettings(), {
      ...(feed === undefined ? {} : { feed }),
      strict: options.strict === true,
    });
    if (options.json === true) print(`${JSON.stringify(report)}\n`);
    else {
      for (const d of report.differences) {
        print(
          `${d.topic}/${d.partition} ${d.from_offset} to ${d.next_offset}: ${d.fault}; ledger ${d.ledger}, cdr ${d.cdr}, cdr_by_number ${d.cdr_by_number}, dead letters ${d.dead_letters}\n`,
        );
      }
      say(
        `${report.partitions} partitions, ${report.ranges} ranges: ${report.accepted} records accepted, ${report.found} at their place, ${report.elsewhere} elsewhere (duplicates) or gone`,
      );
    }
    const { length } = report.differences;
    if (length > 0) throw new CdrhouseError('AUDIT_DIFFERS', `${length} range(s) differ`);
  });

const keys = program.command('keys').description('API keys');
keys
  .command('add')
  .description('make a key; it is shown once')
  .addOption(new Option('--role <role...>', 'what it may do').makeOptionMandatory())
  .option('--label <text>', 'who has it', '')
  .option('--expires <day>', 'last day of validity is the day before, YYYY-MM-DD', utcDay)
  .option('--json', 'print as JSON')
  .action(async (options: { role: string[]; label: string; expires?: number; json?: boolean }) => {
    const { addKey } = await import('./retention/keys.ts');
    const { token, keyId } = await addKey(readSettings(), {
      roles: options.role,
      label: options.label,
      expiresAt: options.expires,
    });
    print(options.json === true ? `${JSON.stringify({ key_id: keyId, token })}\n` : `${token}\n`);
    if (options.json !== true) say(`key ${keyId}: keep it now, it cannot be shown again`);
  });
keys
  .command('list')
  .description('the keys, without their secrets')
  .option('--json', 'print as JSON')
  .action(async (options: { json?: boolean }) => {
    const { listKeys } = await import('./retention/keys.ts');
    const rows = await listKeys(readSettings());
    if (options.json === true) print(`${JSON.stringify(rows)}\n`);
    else for (const row of rows) print(`${row.key_id}  ${row.state}  ${row.roles.join(',')}  ${row.label}\n`);
  });
keys
  .command('revoke')
  .description('end a key; it takes effect within seconds')
  .argument('<key-id>')
  .action(async (keyId: string) => {
    const { revokeKey } = await import('./retention/keys.ts');
    await revokeKey(readSettings(), keyId);
    say(`key ${keyId} is revoked`);
  });

try {
  await program.parseAsync();
} catch (error) {
  process.exitCode = failed(error);
}

function failed(error: unknown): number {
  if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT.done : EXIT.usage;
  if (error instanceof CdrhouseError) {
    say(`cdrhouse: ${error.code}: ${error.message}\n  what to do: ${error.action}`);
    return error.code === 'SETTINGS_INVALID' || error.code === 'USAGE_WRONG' || error.code === 'FEED_UNKNOWN'
      ? EXIT.usage
      : EXIT.failed;
  }
  // A broken pipe (`generate | head`) is the reader's wish.
  if ((error as NodeJS.ErrnoException).code === 'EPIPE') return EXIT.done;
  say(`cdrhouse: INTERNAL: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`);
  return EXIT.failed;
}

function readSettings(): Settings {
  return loadSettings(process.env);
}

/** Aborted at the first SIGTERM or SIGINT; a second one ends the process at once. */
function stopSignal(): AbortSignal {
  const controller = new AbortController();
  let signals = 0;
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    process.on(signal, () => {
      signals++;
      if (signals > 1) process.exit(EXIT.failed);
      controller.abort(new Error(signal));
    });
  }
  return controller.signal;
}

function wholeNumber(min: number, max = Number.MAX_SAFE_INTEGER): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (text.trim() === '' || !Number.isSafeInteger(value) || value < min || value > max) {
      throw new InvalidArgumentError(
        `Allowed: whole numbers from ${min}${max === Number.MAX_SAFE_INTEGER ? '' : ` to ${max}`}.`,
      );
    }
    return value;
  };
}

function utcDay(text: string): number {
  const ms = /^[0-9]{4}-[0-9]{2}-[0-9]{2}$/.test(text) ? Date.parse(text) : Number.NaN;
  if (Number.isNaN(ms)) throw new InvalidArgumentError('Allowed: a day as YYYY-MM-DD.');
  return ms;
}

function moment(text: string): number {
  const ms = Date.parse(text);
  if (Number.isNaN(ms) || !/(Z|[+-][0-9]{2}:?[0-9]{2})$/i.test(text)) {
    throw new InvalidArgumentError('Allowed: ISO 8601 with a zone, like 2026-03-01T10:00:00Z.');
  }
  return ms;
}

function print(text: string): void {
  process.stdout.write(text);
}

function say(text: string): void {
  process.stderr.write(`${text}\n`);
}

function packageVersion(): string {
  const path = new URL(
    import.meta.url.endsWith('.ts') ? './package.json' : '../package.json',
    import.meta.url,
  );
  return (JSON.parse(readFileSync(path, 'utf8')) as { version: string }).version;
}
