import { Option, type Command } from 'commander';
import type { Sort } from '../ingest/ship/inputs.ts';
import { CdrhouseError } from '../schemas/errors.ts';
import {
  EXIT,
  moment,
  print,
  readSettings,
  say,
  sayError,
  stopSignal,
  utcDay,
  wholeNumber,
} from './command.ts';

const SHIP_SORTS: readonly Sort[] = ['name', 'mtime'];

/** What a feed sends: formats, and how it comes into Kafka. */
export function addFeedCommands(program: Command): void {
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
    .description(
      'synthetic calls as canonical-csv: same seed and options, same bytes; no two lines are equal',
    )
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
          await Promise.all([import('../ingest/generate/main.ts'), import('../ingest/generate/traffic.ts')]);
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
      const { FORMATS } = await import('../schemas/formats/index.ts');
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
      const { testFormat, trialText, summaryText } = await import('../ingest/format-trial.ts');
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
          import('../ingest/reload.ts'),
          import('../ingest/reload-text.ts'),
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
}

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
    const { runListen } = await import('../ingest/ship/listen.ts');
    print(
      `${JSON.stringify(await runListen({ settings, feed, address: listen, stop, report: sayError, say }))}\n`,
    );
    return EXIT.done;
  }
  const [{ runShip }, { progressBar }] = await Promise.all([
    import('../ingest/ship/main.ts'),
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
