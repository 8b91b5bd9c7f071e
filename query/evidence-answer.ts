import type { CallEvidence } from '../schemas/api.ts';
import { numberRulesOf } from '../schemas/dial-plan.ts';
import { isE164 } from '../schemas/number-key.ts';
import { callAnswer, maskCall, type CallAnswer } from './call-answer.ts';
import type { QueryContext } from './context.ts';
import { NEAR_MS, type FoundCall } from './evidence.ts';
import type { StoredRow } from './evidence-sql.ts';
import { writeTime } from './times.ts';

/**
 * The evidence as it is shown.
 * @param isHidden numbers that are masked
 */
export function writeEvidence(
  context: QueryContext,
  found: FoundCall,
  zone: string,
  isHidden: (number: string) => boolean,
): { data: CallAnswer & { held: boolean }; evidence: CallEvidence } {
  const { row, source, corrections, replaced, rectified, otherContents, otherCalls, hasIds, letters } = found;
  const seconds = (value: number): string => writeTime(value * 1000, zone);
  const shown = (each: StoredRow): CallAnswer => maskCall(callAnswer(context, each, zone), isHidden);
  const stored = (each: StoredRow) => ({
    call: shown(each),
    partition: each.source_partition,
    offset: each.source_offset,
    line: each.source_line,
    stored_at: seconds(each.stored_s),
  });
  const numbers = new Set([...corrections.map(String), ...replaced.map(({ correction }) => correction)]);
  const startMs = Number(row.start_ms);
  return {
    data: { ...shown(row), held: found.isHeld },
    evidence: {
      source: {
        feed: row.feed,
        cluster_id: source?.cluster_id ?? null,
        topic: source?.topic ?? null,
        topic_id: source?.topic_id ?? null,
        partition: row.source_partition,
        offset: row.source_offset,
        line: row.source_line,
        stored_at: seconds(row.stored_s),
        stored_by: source === undefined ? null : source.kind === 'read' ? 'ingest' : 'replay',
      },
      reading: readingOf(found),
      corrections: [
        ...[...numbers].map((number) => ({
          second: Number(number),
          reason: corrections.some((each) => String(each) === number)
            ? 'read again under other settings of the feed'
            : 'not recorded',
          field: null,
          before: replaced.filter(({ correction }) => correction === number),
        })),
        ...rectified.map(({ corrected_s: second, reason, field, before }) => ({
          second,
          reason,
          field,
          before: [before],
        })),
      ]
        .sort((a, b) => a.second - b.second)
        .map(({ second, before, ...rest }) => ({ at: seconds(second), ...rest, before: before.map(stored) })),
      conflicts: {
        other_content: otherContents.map(stored),
        other_calls: otherCalls.map(stored),
        looked_from: hasIds ? writeTime(startMs - NEAR_MS, zone) : null,
        looked_to: hasIds ? writeTime(startMs + NEAR_MS, zone) : null,
      },
      dead_letters: {
        count: letters[0]?.letters ?? '0',
        first: letters.map(({ line, code, field, position, state, rejected_s: rejected }) => ({
          line,
          code,
          field,
          position,
          state,
          rejected_at: seconds(rejected),
        })),
      },
    },
  };
}

function readingOf({ row, source, settings }: FoundCall): CallEvidence['reading'] {
  const hash = source?.reading ?? null;
  if (settings === undefined) return { hash, settings: null, numbers: null };
  const rules = numberRulesOf(settings.country, settings.numbers);
  return {
    hash,
    settings: {
      format: settings.format,
      time_zone: settings.time_zone,
      country: settings.country ?? null,
      numbers: settings.numbers ?? null,
      identity: settings.identity,
    },
    numbers: {
      calling: ruleOf(row.calling_number, rules.calling),
      displayed: ruleOf(row.displayed_caller_id, rules.displayed),
      dialed: ruleOf(row.dialed_number, rules.dialed),
    },
  };
}

function ruleOf(number: string, rules: object | undefined): 'none' | 'e164' {
  return rules !== undefined && isE164(number) ? 'e164' : 'none';
}
