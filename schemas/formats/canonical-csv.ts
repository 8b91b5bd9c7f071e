import { OUTCOMES } from '../record.ts';
import type { Format } from './format.ts';

/** Our own wire format (docs/feeds.md): what `cdrhouse generate` writes and what new switches should send. */
export const canonicalCsv: Format = {
  name: 'canonical-csv',
  version: 1,
  summary:
    'calling_number,displayed_caller_id,dialed_number,start,duration[,talk_duration[,call_id[,outcome[,account]]]]',
  syntax: {
    kind: 'delimited',
    separator: ',',
    quotes: 'rfc4180',
    columns: { by: 'position', counts: [5, 6, 7, 8, 9], header: 'calling_number' },
  },
  records: [
    {
      callingNumber: { at: 0 },
      displayedCallerId: { at: 1 },
      dialedNumber: { at: 2 },
      start: { at: 3, notation: 'iso-or-epoch' },
      duration: { at: 4, unit: 's' },
      talk: { at: 5, unit: 's' },
      callId: 6,
      outcome: {
        rules: [{ at: 7, words: Object.fromEntries(OUTCOMES.map((outcome) => [outcome, outcome])) }],
        otherwise: 'reject',
      },
      account: 8,
    },
  ],
  about: {
    zone: 'as written (offset, Z or epoch), else that of the feed',
    duration: 'duration: whatever the sender says, in seconds; talk_duration: the billable part',
    identity: 'the bytes of the line',
    gaps: 'none',
    billing: 'as the sender means it',
  },
};
