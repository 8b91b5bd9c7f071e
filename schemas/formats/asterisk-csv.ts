import type { DelimitedFormat } from './format.ts';

/**
 * Asterisk's cdr_csv (`Master.csv`): accountcode, src, dst, dcontext, clid, channel, dstchannel, lastapp,
 * lastdata, start, answer, end, duration, billsec, disposition, amaflags [, uniqueid] [, userfield]
 * [, peeraccount, linkedid, sequence]: 16, 17, 18 or 21 columns, by loguniqueid, loguserfield and
 * newcdrcolumns of cdr.conf. Source: cdr/cdr_csv.c of Asterisk, and real files.
 *
 * Lines of 21 columns have an id that is unique per record, (uniqueid, sequence); parallel Dial targets
 * share the uniqueid alone, so shorter lines are identified by their bytes.
 */
export const asteriskCsv: DelimitedFormat = {
  name: 'asterisk-csv',
  version: 1,
  summary: 'Asterisk cdr_csv (Master.csv) with 16, 17, 18 or 21 columns',
  separator: ',',
  columnCounts: [16, 17, 18, 21],
  account: 0,
  callingNumber: 1,
  dialedNumber: 2,
  displayedCallerId: { column: 4, reading: 'name-addr' },
  start: { column: 9, notation: 'local' },
  duration: 12,
  talk: 13,
  outcome: {
    column: 14,
    words: {
      ANSWERED: 'answered',
      'NO ANSWER': 'no_answer',
      BUSY: 'busy',
      FAILED: 'failed',
      CONGESTION: 'failed',
      CANCEL: 'cancelled',
    },
    otherwise: 'unknown',
  },
  // A line of 17 columns may have the userfield in this place (loguserfield without loguniqueid).
  callId: { column: 16, columnCountMin: 18 },
  recordId: { columnCount: 21, columns: [16, 20] },
  durationMeans:
    'duration: seconds from start to end, ringing included; talk: billsec, seconds from answer to end',
};
