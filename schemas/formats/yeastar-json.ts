import { dispositionAt } from './asterisk-csv.ts';
import type { Format } from './format.ts';

/**
 * Yeastar's NewCdr reports of its API, one object a line; the spelling of `callduraction` is the vendor's. The names with
 * underscores are those of the P-series.
 */
export const yeastarJson: Format = {
  name: 'yeastar-json',
  version: 1,
  summary: 'Yeastar NewCdr reports, one JSON object a line',
  syntax: { kind: 'json' },
  skip: [{ at: 'action', isNot: ['NewCdr'], reason: 'other_record' }],
  records: [
    {
      callingNumber: { at: 'callfrom|call_from', reading: 'name-addr' },
      dialedNumber: { at: 'callto|call_to' },
      start: { at: 'timestart|time_start', notation: 'local' },
      duration: { at: 'callduraction|call_duration', unit: 's' },
      talk: { at: 'talkduraction|talk_duration', unit: 's' },
      outcome: {
        rules: [
          dispositionAt('status'),
          {
            at: 'status',
            words: { ANSWERD: 'answered', 'NO ANSWERED': 'no_answer', VOICEMAIL: 'no_answer' },
          },
        ],
        otherwise: 'unknown',
      },
      direction: [
        {
          at: 'type',
          words: { Inbound: 'inbound', Outbound: 'outbound', Internal: 'internal' },
          ignoreCase: true,
        },
      ],
      callId: 'callid|cdrid|call_id',
    },
  ],
  epochId: 'callid|cdrid|call_id',
  about: {
    zone: 'local time of the PBX',
    duration: 'duration: seconds, ringing included; talk: seconds of conversation',
    identity: 'the bytes of the line: a call has several legs',
    gaps: 'none',
    billing: 'direction = outbound, outcome = answered, talk above 0',
  },
};
