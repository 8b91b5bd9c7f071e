import type { BatchMemory } from './batch-memory.ts';
import type { LineColumns } from './line-columns.ts';
import { ABSENT } from './line-splitter.ts';
import type { DurationPlan, NumberPlan, ShapePlan, TimePlan, WordPlan } from './reading-plan.ts';

/** The fields of the last line as the switch sent them, by our names; what is empty is left out. For people to look at. */
export function sentFields(
  shape: ShapePlan,
  { starts, ends }: Pick<LineColumns, 'starts' | 'ends'>,
  { bytes }: BatchMemory,
): Record<string, string> {
  const textAt = (column: number): string =>
    column < 0 || column === ABSENT
      ? ''
      : Buffer.from(bytes.subarray(starts[column], ends[column])).toString('utf8');
  const first = (columns: readonly number[]): string => columns.map(textAt).find((text) => text !== '') ?? '';
  const ofNumber = ({ column, others }: NumberPlan): string => first([column, ...others]);
  const ofTime = ({ column, timeColumn }: TimePlan): string =>
    [textAt(column), textAt(timeColumn)].filter((text) => text !== '').join(' ');
  const ofDuration = ({ column, plus, from, to }: DurationPlan): string =>
    from === undefined || to === undefined
      ? [column, ...plus.map((part) => part.column)]
          .map(textAt)
          .filter((text) => text !== '')
          .join(' + ')
      : `${ofTime(from)} to ${ofTime(to)}`;
  const ofWords = (rules: readonly WordPlan[]): string =>
    [...new Set(rules.map(({ column }) => textAt(column)))].join(' ').trim();
  const fields = {
    calling_number: ofNumber(shape.callingNumber),
    displayed_caller_id: ofNumber(shape.displayedCallerId),
    dialed_number: ofNumber(shape.dialedNumber),
    start: [shape.start, ...shape.otherStarts].map(ofTime).find((text) => text !== '') ?? '',
    duration: ofDuration(shape.duration),
    talk_duration: ofDuration(shape.talk),
    outcome: ofWords(shape.outcome),
    direction: ofWords(shape.direction),
    account: textAt(shape.account),
    call_id: textAt(shape.callId),
    record_id: shape.recordId.map(textAt).join(' ').trim(),
  };
  return Object.fromEntries(Object.entries(fields).filter(([, text]) => text !== ''));
}
