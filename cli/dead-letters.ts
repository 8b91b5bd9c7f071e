import { Option, type Command } from 'commander';
import {
  DEAD_LETTER_STATES,
  readPlace,
  type DeadLetterFilter,
  type DeadLetterState,
} from '../schemas/dead-letters.ts';
import { CdrhouseError, REJECT_CODES } from '../schemas/errors.ts';
import { EXIT, moment, print, readSettings, say, stopSignal, wholeNumber } from './command.ts';

/** `dead-letters`: records that were rejected. */
export function addDeadLetters(program: Command): void {
  const deadLetters = program.command('dead-letters').description('records that were rejected');
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
        const { countDeadLetters, listDeadLetters } = await import('../retention/dead-letters.ts');
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
      const { showDeadLetter } = await import('../retention/dead-letters.ts');
      print(`${JSON.stringify(await showDeadLetter(await readSettings(), place), null, 2)}\n`);
    });
  choosingLetters(deadLetters.command('replay'))
    .description("read open rejected records again with today's settings and store what can be read now")
    .option('--place <place>', 'only this one: topic/partition/offset/line, as list prints it')
    .option('--dry-run', 'only say what would become of them')
    .option('--json', 'print the summary as JSON')
    .action(async (options: LetterOptions & { place?: string; dryRun?: boolean; json?: boolean }) => {
      const [{ replayDeadLetters }, { progressBar }] = await Promise.all([
        import('../ingest/replay.ts'),
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
}

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
