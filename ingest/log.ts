import { pino, type Logger } from 'pino';
import { PROGRAM_ERRORS } from '../schemas/errors.ts';
import type { Settings } from '../schemas/settings.ts';

/** The log of ingest or of one of its commands, to stderr: stdout belongs to the summary. A line with a code of the catalogue says what to do. */
export function ingestLog({ ingest }: Settings, name = 'cdrhouse-ingest'): Logger {
  return pino({ name, level: ingest.log_level, formatters: { log: withAction } }, pino.destination(2));
}

/** Adds to what is logged with an error code what the operator can do. */
export function withAction(logged: Record<string, unknown>): Record<string, unknown> {
  const { code } = logged;
  if (typeof code !== 'string' || !Object.hasOwn(PROGRAM_ERRORS, code) || 'action' in logged) return logged;
  return { ...logged, action: PROGRAM_ERRORS[code as keyof typeof PROGRAM_ERRORS].action };
}
