import { createHash } from 'node:crypto';
import type { ControlTotals, UsageAnswer, UsageGroup, UsageRow, UsageTotal } from '../schemas/api.ts';
import type { CsvColumn } from '../schemas/csv.ts';
import type { BillingTerms } from './billing.ts';
import { durationSums } from './call-answer.ts';
import { writeTime } from './times.ts';
import type { SumsRow, UsageSumsRow } from './usage-sql.ts';

/** Groups whose values come from outside. */
const TEXT_GROUPS: ReadonlySet<UsageGroup> = new Set([
  'calling_number',
  'displayed_caller_id',
  'dialed_number',
  'dialed_prefix',
  'account',
  'feed',
]);

/** The columns of an answer that is a table. */
export function usageColumns(groups: readonly UsageGroup[], isBilled: boolean): CsvColumn<UsageRow>[] {
  const sums = [
    'records',
    'answered',
    'duration_ms',
    'talk_ms',
    'missing_talk',
    'duration_s',
    'talk_s',
    ...(isBilled ? (['billed_seconds'] as const) : []),
    'first_call',
    'last_call',
  ] as const;
  return [
    ...groups.map((name) => ({ name, isText: TEXT_GROUPS.has(name) })),
    ...sums.map((name) => ({ name, isText: false })),
  ];
}

/** A group with its sums. */
export function usageRow(groups: readonly UsageGroup[], row: UsageSumsRow, zone: string): UsageRow {
  return Object.assign(groupsOf(groups, row, zone), usageTotal(row, zone));
}

function groupsOf(groups: readonly UsageGroup[], row: UsageSumsRow, zone: string): Partial<UsageRow> {
  return Object.fromEntries(groups.map((group) => [group, writeGroup(group, row[`group_${group}`]!, zone)]));
}

function writeGroup(group: UsageGroup, value: string | number, zone: string): string {
  const text = String(value);
  switch (group) {
    case 'hour':
      return writeTime(Number(value) * 1000, zone);
    case 'day':
      return text.replace(/^(\d{4})(\d\d)(\d\d)$/, '$1-$2-$3');
    case 'week':
      return text.replace(/^(\d{4})(\d\d)$/, '$1-W$2');
    case 'month':
      return text.replace(/^(\d{4})(\d\d)$/, '$1-$2');
    default:
      return text;
  }
}

/** What the sums of calls say. */
export function usageTotal(row: SumsRow, zone: string): UsageTotal {
  const isEmpty = row.records === '0';
  return {
    records: row.records,
    answered: row.answered,
    ...durationSums(row),
    ...(row.billed_seconds === undefined ? {} : { billed_seconds: row.billed_seconds }),
    first_call: isEmpty ? null : writeTime(Number(row.first_ms), zone),
    last_call: isEmpty ? null : writeTime(Number(row.last_ms), zone),
  };
}

/** How seconds were billed. */
export function writeTerms({
  first,
  step,
  basis,
  roundMs,
  missingTalk,
}: BillingTerms): NonNullable<UsageAnswer['billing']> {
  return { increment: `${first}/${step}`, basis, round_ms: roundMs, missing_talk: missingTalk };
}

/**
 * The ETag of an answer. Weak, and without what goes on while the period stays the same (how far the feeds are read,
 * their counts since their start): a job asks whether what it billed has changed.
 */
export function entityTag({ control, complete: _complete, ...rest }: UsageAnswer): string {
  const content = JSON.stringify([rest, control === undefined ? null : ofPeriod(control)]);
  return `W/"${createHash('sha256').update(content).digest('base64url')}"`;
}

function ofPeriod({ feeds, ...hours }: ControlTotals): unknown {
  return [hours, feeds.map(({ read_up_to: _readUpTo, since_start: _sinceStart, ...counts }) => counts)];
}
