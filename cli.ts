#!/usr/bin/env node
/**
 * The command `cdrhouse`; its subcommands stand in cli/. Data goes to stdout, messages to stderr; exit code 0 done,
 * 1 failed, 2 wrong usage or settings. Each subcommand loads its own service, so that `ship` needs no
 * ClickHouse client and production needs nothing of the local servers.
 */
import { Command, CommanderError } from 'commander';
import { EXIT, packageVersion, say, sayError } from './cli/command.ts';
import { addDeadLetters } from './cli/dead-letters.ts';
import { addFeedCommands } from './cli/feeds.ts';
import { addKeys } from './cli/keys.ts';
import { addRetention } from './cli/retention.ts';
import { addServices } from './cli/services.ts';
import { addSubject } from './cli/subject.ts';
import { CdrhouseError } from './schemas/errors.ts';

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

// In the order in which help names them.
addServices(program);
addFeedCommands(program);
addDeadLetters(program);
addRetention(program);
addKeys(program);
addSubject(program);

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
