import { Option, type Command } from 'commander';
import { print, readSettings, say, utcDay, wholeNumber } from './command.ts';

/** `keys`: who may ask the API. */
export function addKeys(program: Command): void {
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
      const { addKey } = await import('../retention/keys.ts');
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
  keys
    .command('list')
    .description('the keys, without their secrets')
    .option('--json', 'print as JSON')
    .action(async (options: { json?: boolean }) => {
      const { keyCells, listKeys } = await import('../retention/keys.ts');
      const rows = await listKeys(await readSettings());
      if (options.json === true) print(`${JSON.stringify(rows)}\n`);
      else for (const row of rows) print(`${keyCells(row).join('  ')}\n`);
    });
  keys
    .command('revoke')
    .description('end a key; it takes effect within seconds')
    .argument('<key-id>')
    .action(async (keyId: string) => {
      const { revokeKey } = await import('../retention/keys.ts');
      await revokeKey(await readSettings(), keyId);
      say(`key ${keyId} is revoked`);
    });

  keys
    .command('rotate-journal')
    .description('give the journal of look-ups a new HMAC key; numbers under the former ones are still found')
    .option('--json', 'print as JSON')
    .action(async (options: { json?: boolean }) => {
      const { rotateJournalKey } = await import('../retention/journal-key.ts');
      const { former, current } = await rotateJournalKey(await readSettings());
      if (options.json === true) print(`${JSON.stringify({ former, current })}\n`);
      say(`the journal has the key ${current} in place of ${former}; restart every cdrhouse serve`);
    });
}

interface KeyOptions {
  readonly role: string[];
  readonly label: string;
  readonly expires?: number;
  readonly shared?: boolean;
  readonly rate?: number;
  readonly address?: string[];
  readonly json?: boolean;
}
