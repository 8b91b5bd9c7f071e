import type { Command } from 'commander';
import type { TopicCopy } from '../ingest/kafka-metadata.ts';
import type { TopicStatus } from '../retention/status.ts';
import type { SweepReport } from '../retention/sweep.ts';
import { CdrhouseError } from '../schemas/errors.ts';
import {
  keptTopics,
  moment,
  packageVersion,
  print,
  readSettings,
  say,
  sayError,
  stopSignal,
  wholeNumber,
} from './command.ts';

/** `audit` and `retention`: that all that must be there is, and nothing else. */
export function addRetention(program: Command): void {
  program
    .command('audit')
    .description('compare ledger, both tables and dead letters, range by range; exit 1 on a difference')
    .option('--feed <name>', 'of this feed')
    .option('--strict', 'also a difference: records that are not at their place, as duplicates are not')
    .option('--json', 'print the report as JSON')
    .option('--metrics-file <path>', 'write the outcome for the textfile collector of node_exporter (*.prom)')
    .action(async (options: { feed?: string; strict?: boolean; json?: boolean; metricsFile?: string }) => {
      const { audit } = await import('../retention/audit.ts');
      const { feed, metricsFile } = options;
      const of = feed === undefined ? {} : { feed };
      const report = await audit(await readSettings(), { ...of, strict: options.strict === true });
      if (metricsFile !== undefined) {
        const { auditRegistry, writeMetricsFile } = await import('../retention/audit-metrics.ts');
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
      const { sweep, sweepFailure } = await import('../retention/sweep.ts');
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
    .description('the service: a sweep and what is due of erasures, at its start and once a day; metrics')
    .action(async () => {
      const { runRetention } = await import('../retention/main.ts');
      const settings = await readSettings();
      await runRetention({
        settings,
        keptTopics: () => keptTopics(settings),
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
      const [{ retentionStatus, topicStatus }, { monthsOf }] = await Promise.all([
        import('../retention/status.ts'),
        import('../schemas/retention-term.ts'),
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
      const topics = await keptTopics(settings).then(
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
    .description(
      'change how long calls are kept, in the database; the settings of all services follow by hand',
    )
    .requiredOption('--months <n>', 'the new term', wholeNumber(1, 1200))
    .option('--feed <name>', 'of the calls of this feed alone; at most the term of all')
    .option('--dry-run', 'only say what the next sweep would take away under it')
    .option('--trust-clock', 'of a dry run: nothing was sent for long, and the clock is right')
    .option('--json', 'print the report as JSON')
    .action(async ({ months, feed, ...options }: SweepCommandOptions & { months: number; feed?: string }) => {
      const settings = await readSettings();
      const { changeTerm, withFeedTerm } = await import('../retention/term.ts');
      if (options.dryRun === true) {
        const { sweep } = await import('../retention/sweep.ts');
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
        const { createHold } = await import('../retention/holds.ts');
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
      const { listHolds } = await import('../retention/holds.ts');
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
      const { releaseHold } = await import('../retention/holds.ts');
      await releaseHold(await readSettings(), holdId, reason);
      say(`hold ${holdId} is released`);
    });
}

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
