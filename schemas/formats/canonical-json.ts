import type { Format, Place, RecordShape } from './format.ts';
import { canonicalCsv } from './canonical-csv.ts';

/** Our own wire format as JSON lines: the names of canonical-csv as keys. */
export const canonicalJson: Format = {
  ...canonicalCsv,
  name: 'canonical-json',
  summary: 'one JSON object a line, with the names of canonical-csv as keys',
  syntax: { kind: 'json' },
  records: canonicalCsv.records.map(withKeys),
};

function withKeys(shape: RecordShape): RecordShape {
  return {
    ...shape,
    callingNumber: { at: 'calling_number' },
    displayedCallerId: { at: 'displayed_caller_id' },
    dialedNumber: { at: 'dialed_number' },
    start: { at: 'start', notation: 'iso-or-epoch' },
    duration: { at: 'duration', unit: 's' },
    talk: { at: 'talk_duration', unit: 's' },
    callId: 'call_id',
    outcome: {
      rules: (shape.outcome?.rules ?? []).map((rule) => ({ ...rule, at: 'outcome' as Place })),
      otherwise: 'reject',
    },
    account: 'account',
  };
}
