import type { Format } from './format.ts';

/**
 * BroadSoft (Cisco) BroadWorks CDR files: a line `version=… encoding=…`, a `Start` record, records of 196 columns
 * (R14) to more than 440, an `End` record. A backslash stands before a comma in a field; there are no quotes. Columns of
 * later releases come behind those of earlier ones.
 */
export const broadworks: Format = {
  name: 'broadworks',
  version: 1,
  summary: 'BroadWorks CDR files (version=… encoding=… line, backslash escapes)',
  syntax: {
    kind: 'delimited',
    separator: ',',
    quotes: 'backslash',
    columns: { by: 'position' },
    encodingLine: 'version=',
  },
  skip: [
    { at: 2, is: ['Start', 'End'], reason: 'marker' },
    { at: 2, is: ['Long Duration', 'Interim'], reason: 'interim_record' },
    { at: 2, isNot: ['Normal'], reason: 'other_record' },
  ],
  records: [
    {
      when: { at: 2, is: ['Normal'] },
      callingNumber: { at: 6 },
      dialedNumber: { at: [17, 8] },
      start: { at: 9, notation: 'yyyyMMddHHmmss.SSS', bare: 'utc' },
      duration: betweenAnswerAndRelease(),
      talk: betweenAnswerAndRelease(),
      outcome: {
        rules: [
          { at: 11, words: { Yes: 'answered', 'Yes-PostRedirection': 'answered' } },
          {
            at: 14,
            words: {
              '016': 'cancelled',
              '017': 'busy',
              '018': 'no_answer',
              '019': 'no_answer',
              '001': 'failed',
              '003': 'failed',
              '021': 'failed',
              '027': 'failed',
              '028': 'failed',
              '031': 'failed',
              '034': 'failed',
              '038': 'failed',
              '041': 'failed',
              '042': 'failed',
              '102': 'failed',
            },
          },
        ],
        otherwise: 'unknown',
      },
      direction: [{ at: 5, words: { Originating: 'outbound', Terminating: 'inbound' } }],
      account: 3,
      callId: 24,
      recordId: [0],
    },
  ],
  about: {
    zone: 'UTC; the time zone of the user stands in a column of its own and is not needed',
    duration:
      'duration and talk: release time minus answer time, 0 when not answered (there is no duration field)',
    identity: 'recordId; a peer that takes over may send a record again',
    gaps: 'the End record of each file',
    billing:
      'direction = outbound, outcome = answered, talk above 0; a call within one group has a record for each side',
  },
};

function betweenAnswerAndRelease() {
  const time = { notation: 'yyyyMMddHHmmss.SSS', bare: 'utc' } as const;
  return { from: { at: 12, ...time }, to: { at: 13, ...time } };
}
