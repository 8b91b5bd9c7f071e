import type { OutsideTool } from './program-peers.ts';

/** Options of benches for the slot of an outside tool (docs/performance.md). */
export const OUTSIDE_OPTIONS = {
  /** Its command, for the shell; without it there is none. */
  outside: { type: 'string' },
  'outside-name': { type: 'string', default: 'outside tool' },
  'outside-table': { type: 'string', default: 'cdr' },
} as const;

/** Reads these options. Throws RangeError. */
export function outsideOption(values: {
  readonly outside?: string | undefined;
  readonly 'outside-name': string;
  readonly 'outside-table': string;
}): OutsideTool | undefined {
  const table = values['outside-table'];
  if (!/^[A-Za-z_][A-Za-z0-9_]*$/.test(table))
    throw new RangeError('--outside-table: allowed is the name of a table');
  if (values.outside === undefined) return undefined;
  return { name: values['outside-name'], command: values.outside, table };
}
