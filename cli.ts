#!/usr/bin/env node
/**
 * The command `cdrhouse`: a table of subcommands. Data goes to stdout, messages to stderr; exit code 0 done,
 * 1 failed, 2 wrong usage or settings. Each subcommand loads its own service, so that `ship` needs no
 * ClickHouse client and production needs nothing of the local servers.
 */
import { Command, CommanderError, InvalidArgumentError, Option } from 'commander';
import { readFileSync } from 'node:fs';
import {
  DEAD_LETTER_STATES,
  readPlace,
  type DeadLetterFilter,
  type DeadLetterState,
} from './schemas/dead-letters.ts';
import type { TopicCopy } from './ingest/kafka-metadata.ts';
import type { Sort } from './ingest/ship/inputs.ts';
import type { TopicStatus } from './retention/status.ts';
import type { SweepReport } from './retention/sweep.ts';
import { CdrhouseError, REJECT_CODES } from './schemas/errors.ts';
import type { SubjectReport } from './retention/subject-requests.ts';
import type { Settings } from './schemas/settings.ts';

const SHIP_SORTS: readonly Sort[] = ['name', 'mtime'];
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
    const settings = await readSettings();
    if (options.printGrants === true) {
      const { grantStatements } = await import('./schemas/grants.ts');
      print(`${grantStatements(settings.clickhouse.database).join('\n')}\n`);
      return;
    }
    const [{ withRetentionClient }, { migrateDatabase }, { createMissingTopics }] = await Promise.all([
      import('./retention/clickhouse.ts'),
      import('./retention/migrate.ts'),
      import('./ingest/ship/topics.ts'),
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
        settings: await readSettings(),
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
    const { runQuery } = await import('./query/main.ts');
    await runQuery({ settings, stop: stopSignal(), onListening: (url) => say(`listening on ${url}`) });
  });

program
  .command('ship')
  .description("send what switches write to a feed's topic; JSON summary on stdout")
  .argument(
    '[files...]',
    'files, folders (the files in them), quoted patterns (*, ?, [a-z], {a,b}, **), or - for standard input; gzip is unpacked',
  )
  .option('--feed <name>', 'the feed; needed where there are several')
  .option('--again', 'send files again that were sent before, under whatever name')
  .option('--follow', 'go on with what is written, across rotation, and with new files, until SIGTERM')
  .option('--listen <address>', 'take records at http://HOST:PORT[/path] or tcp://HOST:PORT, until SIGTERM')
  .addOption(
    new Option('--sort <order>', 'in which order files are sent').choices(SHIP_SORTS).default('name'),
  )
  .option('--json', 'the summary is JSON, with and without this')
  .addHelpText(
    'after',
    '\nWhat was sent is remembered by content (ship.place_file), after Kafka has acknowledged it.\nExit code 1: a file or a line was not sent; stderr says which and why. Recipes: docs/ship.md.',
  )
  .action(async (files: string[], options: ShipCommandOptions) => {
    process.exitCode = await shipCommand(files, options);
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
      else await generateToTopic(generate, await readSettings(), options.topic);
    },
  );

const formats = program
  .command('formats')
  .description('the formats that a feed can name')
  .option('--json', 'print as JSON')
  .action(async (options: { json?: boolean }) => {
    const { FORMATS } = await import('./schemas/formats/index.ts');
    if (options.json === true) print(`${JSON.stringify(FORMATS)}\n`);
    else
      for (const { name, summary, about } of FORMATS) {
        print(`${name}\n  ${summary}\n`);
        for (const [what, text] of Object.entries(about)) print(`  ${what}: ${text}\n`);
      }
  });
formats
  .command('test')
  .description('how each line of a file is read, without any server; shows numbers (personal data)')
  .argument('<file>', 'a file, or - for standard input')
  .requiredOption('--feed <name>', 'as this feed of the settings')
  .option('--json', 'print as JSON, one object a line, the last one is the summary')
  .action(async (file: string, options: { feed: string; json?: boolean }, command: Command) => {
    const { testFormat, trialText, summaryText } = await import('./ingest/format-trial.ts');
    // The parent command has an option of this name too.
    const json = command.optsWithGlobals<{ json?: boolean }>().json === true;
    const summary = await testFormat(await readSettings(), options.feed, file, (line) =>
      print(json ? `${JSON.stringify(line)}\n` : trialText(line)),
    );
    print(json ? `${JSON.stringify({ summary })}\n` : summaryText(summary));
  });

program
  .command('feeds')
  .description('what was stored for a feed')
  .command('reload')
  .description(
    "after a feed's settings were wrong (zone, country, columns, name): have what was stored under other settings than " +
      "today's read again and replaced, as far as Kafka holds it; list what it no longer holds. Needs an idle group",
  )
  .requiredOption('--feed <name>', 'the feed, as it is called now')
  .requiredOption(
    '--from <time>',
    'messages from this Kafka timestamp on (when they were sent), ISO 8601',
    moment,
  )
  .option('--to <time>', 'messages before this one: when the settings were mended; default: all', moment)
  .option(
    '--remove-gone',
    'delete what was stored from places that Kafka no longer has, before it is shipped again',
  )
  .option('--dry-run', 'only say what would be done')
  .option('--json', 'print the report as JSON')
  .action(
    async (options: {
      feed: string;
      from: number;
      to?: number;
      removeGone?: boolean;
      dryRun?: boolean;
      json?: boolean;
    }) => {
      const { feed, from, to } = options;
      if (to !== undefined && from >= to)
        throw new CdrhouseError('USAGE_WRONG', '--from must be before --to');
      const [{ reloadFeed }, { reloadAdvice, reloadLines }] = await Promise.all([
        import('./ingest/reload.ts'),
        import('./ingest/reload-text.ts'),
      ]);
      const report = await reloadFeed({
        settings: await readSettings(),
        feed,
        fromMs: from,
        toMs: to,
        removeGone: options.removeGone === true,
        dryRun: options.dryRun === true,
      });
      if (options.json === true) print(`${JSON.stringify(report)}\n`);
      else for (const line of reloadLines(report)) print(`${line}\n`);
      for (const line of reloadAdvice(report)) say(line);
    },
  );

const deadLetters = program.command('dead-letters').description('records that were rejected');
interface LetterOptions {
  readonly feed?: string;
  readonly code?: string;
  readonly from?: number;
  readonly to?: number;
}
/** Adds the options that choose letters. */
function choosingLetters(command: Command): Command {
  return command
    .option('--feed <name>', 'of this feed')
    .addOption(new Option('--code <code>', 'with this code').choices(REJECT_CODES))
    .option('--from <time>', 'of messages from this Kafka timestamp on, ISO 8601', moment)
    .option('--to <time>', 'of messages before this Kafka timestamp', moment);
}
function letterFilter({ feed, code, from, to }: LetterOptions): DeadLetterFilter {
  if (from !== undefined && to !== undefined && from >= to)
    throw new CdrhouseError('USAGE_WRONG', '--from must be before --to');
  return { feed, code, fromMs: from, toMs: to };
}
choosingLetters(deadLetters.command('list'))
  .description('rejected records, newest first; shows no content')
  .addOption(
    new Option('--state <state>', 'in this state').choices([...DEAD_LETTER_STATES, 'all']).default('open'),
  )
  .option('--count', 'only how many there are by feed, code and state')
  .option('--limit <n>', 'how many', wholeNumber(1, 100_000), 100)
  .option('--json', 'print as JSON, one object a line')
  .action(
    async (
      options: LetterOptions & {
        state: DeadLetterState | 'all';
        count?: boolean;
        limit: number;
        json?: boolean;
      },
    ) => {
      const { countDeadLetters, listDeadLetters } = await import('./retention/dead-letters.ts');
      const { state, limit } = options;
      const filter = { ...letterFilter(options), states: state === 'all' ? undefined : [state] };
      if (options.count === true) {
        for (const row of await countDeadLetters(await readSettings(), filter)) {
          print(
            options.json === true
              ? `${JSON.stringify(row)}\n`
              : `${row.feed}  ${row.code}  ${row.state}  ${row.count}\n`,
          );
        }
        return;
      }
      const { letters, total } = await listDeadLetters(await readSettings(), filter, limit);
      for (const row of letters) {
        print(
          options.json === true
            ? `${JSON.stringify(row)}\n`
            : `${row.place}  ${row.feed}  ${row.code}  ${row.field} at byte ${row.position}  ${row.rejected_at}  ${row.state}\n`,
        );
      }
      if (total > letters.length) say(`the newest ${letters.length} of ${total}; --limit shows more`);
    },
  );
deadLetters
  .command('show')
  .description('one rejected record with its bytes as sent (personal data)')
  .argument('<place>', 'topic/partition/offset/line, as list prints it')
  .action(async (place: string) => {
    const { showDeadLetter } = await import('./retention/dead-letters.ts');
    print(`${JSON.stringify(await showDeadLetter(await readSettings(), place), null, 2)}\n`);
  });
choosingLetters(deadLetters.command('replay'))
  .description("read open rejected records again with today's settings and store what can be read now")
  .option('--place <place>', 'only this one: topic/partition/offset/line, as list prints it')
  .option('--dry-run', 'only say what would become of them')
  .option('--json', 'print the summary as JSON')
  .action(async (options: LetterOptions & { place?: string; dryRun?: boolean; json?: boolean }) => {
    const [{ replayDeadLetters }, { progressBar }] = await Promise.all([
      import('./ingest/replay.ts'),
      import('./progress.ts'),
    ]);
    const place = options.place === undefined ? undefined : readPlace(options.place);
    const stop = stopSignal();
    const bar = progressBar('replay', 'records');
    const summary = await replayDeadLetters({
      settings: await readSettings(),
      filter: { ...letterFilter(options), place },
      dryRun: options.dryRun === true,
      stop,
      progress: bar.update,
    }).finally(() => bar.stop());
    const { selected, stored, rejected_by_code, skipped_by_reason, left } = summary;
    if (options.json === true) print(`${JSON.stringify(summary)}\n`);
    else {
      print(`selected  ${selected}\nstored  ${stored}\n`);
      for (const [code, count] of Object.entries(rejected_by_code)) print(`rejected  ${code}  ${count}\n`);
      for (const [reason, count] of Object.entries(skipped_by_reason))
        print(`skipped  ${reason}  ${count}\n`);
    }
    if (options.dryRun === true) say('nothing was written');
    if (left > 0) say(`${left} not looked at`);
    if (left > 0 && stop.aborted) process.exitCode = EXIT.failed;
  });

program
  .command('audit')
  .description('compare ledger, both tables and dead letters, range by range; exit 1 on a difference')
  .option('--feed <name>', 'of this feed')
  .option('--strict', 'also a difference: records that are not at their place, as duplicates are not')
  .option('--json', 'print the report as JSON')
  .option('--metrics-file <path>', 'write the outcome for the textfile collector of node_exporter (*.prom)')
  .action(async (options: { feed?: string; strict?: boolean; json?: boolean; metricsFile?: string }) => {
    const { audit } = await import('./retention/audit.ts');
    const { feed, metricsFile } = options;
    const of = feed === undefined ? {} : { feed };
    const report = await audit(await readSettings(), { ...of, strict: options.strict === true });
    if (metricsFile !== undefined) {
      const { auditRegistry, writeMetricsFile } = await import('./retention/audit-metrics.ts');
      const registry = auditRegistry(report, { ...of, nowMs: Date.now() });
      await writeMetricsFile(metricsFile, await registry.metrics());
    }
    if (options.json === true) print(`${JSON.stringify(report)}\n`);
    else {
      for (const d of report.differences) {
        print(
          `${d.topic}/${d.partition} ${d.from_offset} to ${d.next_offset}: ${d.fault}; ledger ${d.ledger}, cdr ${d.cdr}, cdr_by_number ${d.cdr_by_number}, dead letters ${d.dead_letters}\n`,
        );
      }
      for (const { feed: name, kind, ids, places } of report.conflicts) {
        const what = kind === 'two_calls' ? 'with more than one call' : 'sent again with other content';
        print(`conflict  ${name}: ${ids} id(s) ${what}\n`);
        for (const records of places) print(`  ${records.join('  ')}\n`);
      }
      say(
        `${report.partitions} partitions, ${report.ranges} ranges: ${report.accepted} records accepted, ${report.found} at their place, ${report.swept} swept, ${report.erased} erased, ${report.elsewhere} elsewhere (duplicates) or gone; ${report.replayed} replayed from dead letters${report.lost_offsets === 0 ? '' : `; ${report.lost_offsets} offsets lost in gaps that were accepted`}`,
      );
    }
    const { length } = report.differences;
    if (length > 0) throw new CdrhouseError('AUDIT_DIFFERS', `${length} range(s) differ`);
  });

const retention = program
  .command('retention')
  .description('what is kept until when, and that it is gone afterwards (docs/retention.md)');
retention
  .command('sweep')
  .description('take all away whose term is over, with proof; exit 1 where a month had to be left')
  .option('--dry-run', 'only say what would go')
  .option('--trust-clock', 'nothing was sent for long, and the clock is right')
  .option('--json', 'print the report as JSON')
  .action(async (options: SweepCommandOptions) => {
    const { sweep, sweepFailure } = await import('./retention/sweep.ts');
    const dryRun = options.dryRun === true;
    const trustClock = options.trustClock === true;
    const settings = await readSettings();
    const report = await sweep({ settings, programVersion: packageVersion(), dryRun, trustClock });
    printSweep(report, options);
    const failure = sweepFailure(report);
    if (failure !== undefined && !dryRun) throw failure;
  });
retention
  .command('run')
  .description('the service: a sweep at its start and once a day, metrics')
  .action(async () => {
    const { runRetention } = await import('./retention/main.ts');
    await runRetention({
      settings: await readSettings(),
      programVersion: packageVersion(),
      stop: stopSignal(),
      say,
      report: sayError,
    });
  });
retention
  .command('status')
  .description('what is kept until when: calls by month, other tables, and what Kafka keeps by itself')
  .option('--json', 'print as JSON')
  .action(async (options: { json?: boolean }) => {
    const settings = await readSettings();
    const [{ retentionStatus, topicStatus }, { feedCopies }, { monthsOf }] = await Promise.all([
      import('./retention/status.ts'),
      import('./ingest/kafka-metadata.ts'),
      import('./schemas/retention-term.ts'),
    ]);
    const status = await retentionStatus(settings);
    const terms = { all: status.term_months, feeds: status.feed_terms };
    const ofTopic = (copy: TopicCopy): TopicStatus =>
      topicStatus(copy, {
        months: monthsOf(terms, settings.feeds.find(({ topic }) => topic === copy.topic)!.name),
        nowMs: Date.parse(status.at),
        topicDays: settings.kafka.topic_retention_days,
      });
    // What the database says is worth saying while Kafka is away.
    const topics = await feedCopies(settings, 10_000).then(
      (copies) => copies.map(ofTopic),
      (error: unknown) => {
        if (!(error instanceof CdrhouseError)) throw error;
        sayError(error);
        return null;
      },
    );
    if (options.json === true) {
      print(`${JSON.stringify({ ...status, topics })}\n`);
      return;
    }
    for (const month of status.months)
      print(
        `${month.month}  ${month.calls} calls  ${month.bytes} bytes  ${month.parts} parts  ${month.oldest_start ?? '-'} to ${month.newest_start ?? '-'}  due ${month.due_at}  overdue ${month.overdue_calls}, ${month.overshoot_days} days  ${month.delayed_by.join('; ')}\n`,
      );
    for (const { table, rows, bytes, oldest, term_months: months, overshoot_days } of status.tables)
      print(
        `${table}  ${rows} rows  ${bytes} bytes  oldest ${oldest ?? '-'}  term ${months ?? '-'} months  overdue ${overshoot_days} days\n`,
      );
    print(`requests of persons  ${status.requests.open} open  ${status.requests.overdue} overdue\n`);
    for (const [feed, months] of Object.entries(status.feed_terms))
      print(`feed ${feed}  term ${months} months\n`);
    for (const { topic, retention_ms, oldest_record, warning } of topics ?? [])
      print(
        `topic ${topic}  retention.ms ${retention_ms}  oldest ${oldest_record ?? '-'}${warning === null ? '' : `  ${warning}`}\n`,
      );
    if (status.clock !== null) say(`a sweep would refuse: CLOCK_WRONG: ${status.clock}`);
  });
retention
  .command('term')
  .description('change how long calls are kept, in the database; the settings of all services follow by hand')
  .requiredOption('--months <n>', 'the new term', wholeNumber(1, 1200))
  .option('--feed <name>', 'of the calls of this feed alone; at most the term of all')
  .option('--dry-run', 'only say what the next sweep would take away under it')
  .option('--trust-clock', 'of a dry run: nothing was sent for long, and the clock is right')
  .option('--json', 'print the report as JSON')
  .action(async ({ months, feed, ...options }: SweepCommandOptions & { months: number; feed?: string }) => {
    const settings = await readSettings();
    const { changeTerm, withFeedTerm } = await import('./retention/term.ts');
    if (options.dryRun === true) {
      const { sweep } = await import('./retention/sweep.ts');
      const trustClock = options.trustClock === true;
      const report = await sweep({
        settings,
        programVersion: packageVersion(),
        dryRun: true,
        trustClock,
        terms: (stored) =>
          feed === undefined ? { ...stored, all: months } : withFeedTerm(stored, feed, months),
      });
      printSweep(report, options);
      return;
    }
    const changed = await changeTerm(settings, months, feed);
    if (options.json === true) print(`${JSON.stringify(changed)}\n`);
    const [whose, setting] =
      feed === undefined ? ['', 'retention.months'] : [` of ${feed}`, 'retention_months of this feed'];
    say(
      `the term${whose} was ${changed.months_before} months and is ${months}: set ${setting} to ${months} for all services and restart them`,
    );
  });
retention
  .command('hold')
  .description('keep copies of the calls of a number for a legal duty, past their term too')
  .requiredOption(
    '--number <number...>',
    'as it is stored (+33…, or as sent); several notations may be given',
  )
  .requiredOption('--from <time>', 'first start, ISO 8601', moment)
  .requiredOption('--to <time>', 'starts before this one', moment)
  .requiredOption('--reason <text>', 'why, and by whose order')
  .requiredOption('--until <time>', 'when the hold ends by itself', moment)
  .option('--json', 'print as JSON')
  .action(
    async (options: {
      number: string[];
      from: number;
      to: number;
      reason: string;
      until: number;
      json?: boolean;
    }) => {
      const { createHold } = await import('./retention/holds.ts');
      const { number: numbers, from, to, reason, until } = options;
      const hold = { numbers, fromMs: from, toMs: to, reason, untilMs: until };
      const made = await createHold(await readSettings(), hold);
      print(options.json === true ? `${JSON.stringify(made)}\n` : `${made.hold_id}\n`);
      say(`${made.calls} call(s) are held now; what comes later and fits is kept by the sweep`);
    },
  );
retention
  .command('holds')
  .description('the legal holds with their numbers (personal data)')
  .option('--json', 'print as JSON')
  .action(async (options: { json?: boolean }) => {
    const { listHolds } = await import('./retention/holds.ts');
    const holds = await listHolds(await readSettings());
    if (options.json === true) print(`${JSON.stringify(holds)}\n`);
    else
      for (const { hold_id, state, numbers, from_at, to_at, until_at, calls, reason } of holds)
        print(
          `${hold_id}  ${state}  ${numbers.join(',')}  ${from_at} to ${to_at}  until ${until_at}  ${calls} calls  ${reason}\n`,
        );
  });
retention
  .command('release')
  .description('end a legal hold; what is overdue goes with the next sweep')
  .argument('<hold-id>')
  .requiredOption('--reason <text>', 'why, and by whose order')
  .action(async (holdId: string, { reason }: { reason: string }) => {
    const { releaseHold } = await import('./retention/holds.ts');
    await releaseHold(await readSettings(), holdId, reason);
    say(`hold ${holdId} is released`);
  });
interface SweepCommandOptions {
  readonly dryRun?: boolean;
  readonly trustClock?: boolean;
  readonly json?: boolean;
}
function printSweep(report: SweepReport, { dryRun, json }: SweepCommandOptions): void {
  if (json === true) print(`${JSON.stringify(report)}\n`);
  else
    for (const { month, kind, state, code, calls, bytes, held } of report.months)
      print(`${month}  ${kind}  ${state}  ${calls} calls  ${bytes} bytes  ${held} held  ${code}\n`);
  if (json !== true)
    for (const { table, state, code, term_months: months, rows } of report.tables)
      print(`${table}  ${state}  ${rows} rows  term ${months} months  ${code}\n`);
  const verb = dryRun === true ? 'are due' : 'swept';
  const ofFeeds = Object.entries(report.feed_terms).map(([feed, months]) => `, of ${feed} ${months}`);
  say(
    `${report.calls} call(s) ${verb} at ${report.due_at}, term ${report.term_months} months${ofFeeds.join('')}`,
  );
}

const keys = program.command('keys').description('API keys');
keys
  .command('add')
  .description('make a key; it is shown once')
  .addOption(new Option('--role <role...>', 'what it may do').makeOptionMandatory())
  .option('--label <text>', 'who has it', '')
  .option('--expires <day>', 'last day of validity is the day before, YYYY-MM-DD', utcDay)
  .option('--shared', 'several people use it: each request must name its Agent')
  .option(
    '--rate <n>',
    'requests a minute; default: query.requests_per_minute',
    wholeNumber(1, 4_000_000_000),
  )
  .option('--address <network...>', 'it works only from these (CIDR, or an address); default: from any')
  .option('--json', 'print as JSON')
  .action(async (options: KeyOptions) => {
    const { addKey } = await import('./retention/keys.ts');
    const { token, keyId } = await addKey(await readSettings(), {
      roles: options.role,
      label: options.label,
      expiresAt: options.expires,
      shared: options.shared === true,
      requestsPerMinute: options.rate,
      addresses: options.address ?? [],
    });
    print(options.json === true ? `${JSON.stringify({ key_id: keyId, token })}\n` : `${token}\n`);
    if (options.json !== true) say(`key ${keyId}: keep it now, it cannot be shown again`);
  });
interface KeyOptions {
  readonly role: string[];
  readonly label: string;
  readonly expires?: number;
  readonly shared?: boolean;
  readonly rate?: number;
  readonly address?: string[];
  readonly json?: boolean;
}
keys
  .command('list')
  .description('the keys, without their secrets')
  .option('--json', 'print as JSON')
  .action(async (options: { json?: boolean }) => {
    const { keyCells, listKeys } = await import('./retention/keys.ts');
    const rows = await listKeys(await readSettings());
    if (options.json === true) print(`${JSON.stringify(rows)}\n`);
    else for (const row of rows) print(`${keyCells(row).join('  ')}\n`);
  });
keys
  .command('revoke')
  .description('end a key; it takes effect within seconds')
  .argument('<key-id>')
  .action(async (keyId: string) => {
    const { revokeKey } = await import('./retention/keys.ts');
    await revokeKey(await readSettings(), keyId);
    say(`key ${keyId} is revoked`);
  });

keys
  .command('rotate-journal')
  .description('give the journal of look-ups a new HMAC key; numbers under the former ones are still found')
  .option('--json', 'print as JSON')
  .action(async (options: { json?: boolean }) => {
    const { rotateJournalKey } = await import('./retention/journal-key.ts');
    const { former, current } = await rotateJournalKey(await readSettings());
    if (options.json === true) print(`${JSON.stringify({ former, current })}\n`);
    say(`the journal has the key ${current} in place of ${former}; restart every cdrhouse serve`);
  });

const subject = program
  .command('subject')
  .description('rights of a person: by numbers and the time in which they held them');
interface SubjectCommandOptions {
  readonly number: string[];
  readonly feed?: string[];
  readonly from: number;
  readonly to?: number;
  readonly reason: string;
  readonly asked?: number;
  readonly dryRun?: boolean;
  readonly json?: boolean;
}
/** Adds the options that name a person and the request. */
function aboutPerson(command: Command): Command {
  return command
    .requiredOption('--number <number...>', 'numbers of the person, in any notation')
    .option('--feed <name...>', 'only as numbers of these feeds; needed for extensions')
    .requiredOption('--from <time>', 'since when they hold them, ISO 8601', moment)
    .option('--to <time>', 'until when they held them; default: to this day', moment)
    .requiredOption('--reason <text>', 'why; stands in the certificate')
    .option('--asked <time>', 'when the person asked, from which the deadline runs; default: now', moment)
    .option('--dry-run', 'only say what would be done')
    .option('--json', 'print the report as JSON');
}
/** What all requests have, for the functions of retention/. */
function personAsked({ number, feed, from, to, reason, asked, dryRun }: SubjectCommandOptions) {
  const person = { numbers: number, feeds: feed, fromMs: from, toMs: to };
  return { person, reason, askedMs: asked, dryRun: dryRun === true };
}
function printSubject(report: SubjectReport, json: boolean | undefined): void {
  if (json === true) {
    print(`${JSON.stringify(report)}\n`);
    return;
  }
  for (const [name, value] of Object.entries(report.result))
    print(`${name}  ${typeof value === 'string' ? value : JSON.stringify(value)}\n`);
  if (report.request_id === null) say('nothing was written');
  else say(`request ${report.request_id}: ${report.state}; its certificate: subject list --id`);
}
subject
  .command('list')
  .description('requests, those first that must be answered first; never shows a number')
  .option('--due', 'only those that are not finished')
  .option('--id <request>', 'one request with its signed certificate, as JSON')
  .option('--json', 'print as JSON, one object a line')
  .action(async (options: { due?: boolean; id?: string; json?: boolean }) => {
    const { requestCells, subjectList, subjectShow } = await import('./retention/subject-list.ts');
    if (options.id !== undefined) {
      print(`${JSON.stringify(await subjectShow(await readSettings(), options.id), null, 2)}\n`);
      return;
    }
    for (const row of await subjectList(await readSettings(), { due: options.due === true }))
      print(options.json === true ? `${JSON.stringify(row)}\n` : `${requestCells(row).join('  ')}\n`);
  });
aboutPerson(subject.command('export'))
  .description('all that is held on a person, as JSON and CSV with a description, into a folder')
  .requiredOption('--out <folder>', 'an empty folder, or one that is not there yet')
  .option('--unmasked', 'tell the numbers of callers and the content of rejected records too')
  .action(async (options: SubjectCommandOptions & { out: string; unmasked?: boolean }) => {
    const { exportSubject } = await import('./retention/subject-export.ts');
    const asked = { ...personAsked(options), out: options.out, unmasked: options.unmasked === true };
    printSubject(await exportSubject(await readSettings(), asked), options.json);
  });
aboutPerson(subject.command('erase'))
  .description(
    'delete what the person called, and blank their numbers in calls of others; what bills or a legal hold still need is deferred',
  )
  .action(async (options: SubjectCommandOptions) => {
    const { erase } = await import('./retention/erase.ts');
    printSubject(await erase(await readSettings(), personAsked(options)), options.json);
  });
subject
  .command('verify')
  .description('look again for what an erasure took away; exit 1 where something is found')
  .requiredOption('--id <request>', 'the request')
  .requiredOption('--number <number...>', 'the numbers, as they were named: they are not kept')
  .option('--json', 'print the report as JSON')
  .action(async (options: { id: string; number: string[]; json?: boolean }) => {
    const { verifyErasure } = await import('./retention/erase.ts');
    const report = await verifyErasure(await readSettings(), options.id, options.number);
    if (options.json === true) print(`${JSON.stringify(report)}\n`);
    else
      for (const [name, value] of Object.entries(report))
        print(`${name}  ${typeof value === 'string' ? value : JSON.stringify(value)}\n`);
    if (!report.verified)
      throw new CdrhouseError('ERASURE_UNPROVEN', `request ${options.id} (${report.state}) is not verified`);
  });
aboutPerson(subject.command('rectify'))
  .description('correct one field of one call of a person; the old value is kept as evidence')
  .requiredOption('--call <id>', 'id of the call, from any answer of the API or an export')
  .requiredOption(
    '--field <name>',
    'what is wrong: calling_number, start, duration …; a wrong one lists them',
  )
  .requiredOption('--value <text>', 'as it must be: a number as calls hold it, seconds, ISO 8601 with a zone')
  .action(async (options: SubjectCommandOptions & { call: string; field: string; value: string }) => {
    const { rectifyCall } = await import('./retention/subject-rectify.ts');
    const { call, field, value } = options;
    const asked = { ...personAsked(options), call, field, value };
    printSubject(await rectifyCall(await readSettings(), asked), options.json);
  });
aboutPerson(subject.command('restrict'))
  .description('keep the calls of a person, and hide them from look-ups until it is lifted')
  .option('--keep-past-term', 'keep copies of them past their term too, until it is lifted')
  .action(async (options: SubjectCommandOptions & { keepPastTerm?: boolean }) => {
    const { restrict } = await import('./retention/subject-restrictions.ts');
    const asked = { ...personAsked(options), keepPastTerm: options.keepPastTerm === true };
    printSubject(await restrict(await readSettings(), asked), options.json);
  });
for (const [kind, text] of [
  ['object', 'a person objects to purposes: the API refuses look-ups of their numbers for these'],
  ['withdraw', 'a person withdraws their consent to purposes; the same'],
] as const) {
  aboutPerson(subject.command(kind))
    .description(text)
    .requiredOption('--purpose <purpose...>', 'as look-ups name it: dispute, billing, support, legal')
    .action(async (options: SubjectCommandOptions & { purpose: string[] }) => {
      const { object } = await import('./retention/subject-restrictions.ts');
      const asked = { ...personAsked(options), kind, purposes: options.purpose };
      printSubject(await object(await readSettings(), asked), options.json);
    });
}
aboutPerson(subject.command('lift'))
  .description('end restrictions of these numbers whose time lies within --from and --to')
  .option('--purpose <purpose...>', 'end objections to these purposes instead')
  .action(async (options: SubjectCommandOptions & { purpose?: string[] }) => {
    const { lift } = await import('./retention/subject-restrictions.ts');
    const asked = { ...personAsked(options), purposes: options.purpose ?? [] };
    printSubject(await lift(await readSettings(), asked), options.json);
  });

interface ShipCommandOptions {
  readonly feed?: string;
  readonly again?: boolean;
  readonly follow?: boolean;
  readonly listen?: string;
  readonly sort: Sort;
}

async function shipCommand(files: string[], options: ShipCommandOptions): Promise<number> {
  const { feed, listen } = options;
  const again = options.again === true;
  const followed = options.follow === true;
  if (listen !== undefined && (files.length > 0 || again || followed))
    throw new CdrhouseError('USAGE_WRONG', '--listen takes no files, and neither --again nor --follow');
  if (listen === undefined && files.length === 0)
    throw new CdrhouseError('USAGE_WRONG', 'say which files to send, or --listen');
  if (followed && (again || files.includes('-')))
    throw new CdrhouseError('USAGE_WRONG', '--follow takes neither - nor --again');
  const settings = await readSettings();
  const stop = stopSignal();
  if (listen !== undefined) {
    const { runListen } = await import('./ingest/ship/listen.ts');
    print(
      `${JSON.stringify(await runListen({ settings, feed, address: listen, stop, report: sayError, say }))}\n`,
    );
    return EXIT.done;
  }
  const [{ runShip }, { progressBar }] = await Promise.all([
    import('./ingest/ship/main.ts'),
    import('./progress.ts'),
  ]);
  const bar = progressBar('ship', 'bytes');
  try {
    const { sort } = options;
    const progress = bar.update;
    const summary = await runShip({
      settings,
      files,
      feed,
      again,
      follow: followed,
      sort,
      stop,
      report: sayError,
      say,
      progress,
    });
    print(`${JSON.stringify(summary)}\n`);
    // A service that was told to end has done its work; what it could not send is in the summary and was said.
    if (followed) return EXIT.done;
    return summary.failed_files > 0 || summary.too_long > 0 || stop.aborted ? EXIT.failed : EXIT.done;
  } finally {
    bar.stop();
  }
}

// Who closes the pipe early (`… | head`) has seen enough.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code !== 'EPIPE') throw error;
  process.exit(EXIT.done);
});

try {
  await program.parseAsync();
} catch (error) {
  process.exitCode = failed(error);
}

function failed(error: unknown): number {
  if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT.done : EXIT.usage;
  if (error instanceof CdrhouseError) {
    sayError(error);
    return error.code === 'SETTINGS_INVALID' || error.code === 'USAGE_WRONG' || error.code === 'FEED_UNKNOWN'
      ? EXIT.usage
      : EXIT.failed;
  }
  // A broken pipe (`generate | head`) is the reader's wish.
  if ((error as NodeJS.ErrnoException).code === 'EPIPE') return EXIT.done;
  say(`cdrhouse: INTERNAL: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`);
  return EXIT.failed;
}

function sayError({ code, message, action }: CdrhouseError): void {
  say(`cdrhouse: ${code}: ${message}\n  what to do: ${action}`);
}

/** Loads the settings with the code that checks them, which help and errors of the command line need not wait for. */
async function readSettings(): Promise<Settings> {
  const { loadSettings } = await import('./settings-loader.ts');
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
