import { InvalidArgumentError } from 'commander';
import { readFileSync } from 'node:fs';
import type { TopicCopy } from '../ingest/kafka-metadata.ts';
import type { CdrhouseError } from '../schemas/errors.ts';
import type { Settings } from '../schemas/settings.ts';

/** What commands share: how they speak and end, how they read options and settings. */

export const EXIT = { done: 0, failed: 1, usage: 2 } as const;

export function sayError({ code, message, action }: CdrhouseError): void {
  say(`cdrhouse: ${code}: ${message}\n  what to do: ${action}`);
}

/** Loads the settings with the code that checks them, which help and errors of the command line need not wait for. */
export async function readSettings(): Promise<Settings> {
  const { loadSettings } = await import('../settings-loader.ts');
  return loadSettings(process.env);
}

/** What Kafka keeps of the feeds by itself. The services know nothing of each other. */
export async function keptTopics(settings: Settings): Promise<TopicCopy[]> {
  const { feedCopies } = await import('../ingest/kafka-metadata.ts');
  return feedCopies(settings, 10_000);
}

/** Aborted at the first SIGTERM or SIGINT; a second one ends the process at once. */
export function stopSignal(): AbortSignal {
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

export function wholeNumber(min: number, max = Number.MAX_SAFE_INTEGER): (text: string) => number {
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

export function utcDay(text: string): number {
  const ms = /^[0-9]{4}-[0-9]{2}-[0-9]{2}$/.test(text) ? Date.parse(text) : Number.NaN;
  if (Number.isNaN(ms)) throw new InvalidArgumentError('Allowed: a day as YYYY-MM-DD.');
  return ms;
}

export function moment(text: string): number {
  const ms = Date.parse(text);
  if (Number.isNaN(ms) || !/(Z|[+-][0-9]{2}:?[0-9]{2})$/i.test(text)) {
    throw new InvalidArgumentError('Allowed: ISO 8601 with a zone, like 2026-03-01T10:00:00Z.');
  }
  return ms;
}

export function print(text: string): void {
  process.stdout.write(text);
}

export function say(text: string): void {
  process.stderr.write(`${text}\n`);
}

export function packageVersion(): string {
  const path = new URL(
    import.meta.url.endsWith('.ts') ? '../package.json' : '../../package.json',
    import.meta.url,
  );
  return (JSON.parse(readFileSync(path, 'utf8')) as { version: string }).version;
}
