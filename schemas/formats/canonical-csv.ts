import { OUTCOMES } from '../record.ts';
import type { DelimitedFormat } from './format.ts';

/** Our own wire format (docs/feeds.md): what `cdrhouse generate` writes and what new switches should send. */
export const canonicalCsv: DelimitedFormat = {
  name: 'canonical-csv',
  version: 1,
  summary:
    'calling_number,displayed_caller_id,dialed_number,start,duration[,talk_duration[,call_id[,outcome[,account]]]]',
  separator: ',',
  columnCounts: [5, 6, 7, 8, 9],
  callingNumber: 0,
  displayedCallerId: { column: 1, reading: 'plain' },
  dialedNumber: 2,
  start: { column: 3, notation: 'iso-or-epoch' },
  duration: 4,
  talk: 5,
  callId: { column: 6, columnCountMin: 7 },
  outcome: {
    column: 7,
    words: Object.fromEntries(OUTCOMES.map((outcome) => [outcome, outcome])),
    otherwise: 'reject',
  },
  account: 8,
  headerField: 'calling_number',
  durationMeans: 'duration: whatever the sender says, in seconds; talk_duration: the billable part',
};
