import type { Outcome } from '../record.ts';
import type { Format, WordRule } from './format.ts';

/**
 * Asterisk's cdr_csv (`Master.csv`): accountcode, src, dst, dcontext, clid, channel, dstchannel, lastapp,
 * lastdata, start, answer, end, duration, billsec, disposition, amaflags [, uniqueid] [, userfield]
 * [, peeraccount, linkedid, sequence]: 16, 17, 18 or 21 columns, by loguniqueid, loguserfield and
 * newcdrcolumns of cdr.conf. Source: cdr/cdr_csv.c of Asterisk, and real files.
 *
 * Lines of 21 columns have an id that is unique per record, (uniqueid, sequence); parallel Dial targets
 * share the uniqueid alone, so shorter lines are identified by their bytes.
 */
export const asteriskCsv: Format = {
  name: 'asterisk-csv',
  version: 1,
  summary: 'Asterisk cdr_csv (Master.csv) with 16, 17, 18 or 21 columns',
  syntax: {
    kind: 'delimited',
    separator: ',',
    quotes: 'rfc4180',
    columns: { by: 'position', counts: [16, 17, 18, 21] },
  },
  records: [
    {
      account: 0,
      callingNumber: { at: 1 },
      dialedNumber: { at: 2 },
      displayedCallerId: { at: 4, reading: 'name-addr' },
      start: { at: 9, notation: 'local' },
      duration: { at: 12, unit: 's' },
      talk: { at: 13, unit: 's' },
      outcome: { rules: [dispositionAt(14)], otherwise: 'unknown' },
      // A line of 17 columns may have the userfield in this place (loguserfield without loguniqueid).
      callId: { at: 16, columnsMin: 18 },
      recordId: [16, 20],
    },
  ],
  epochId: 16,
  about: {
    zone: 'local time of the host, unless usegmtime=yes',
    duration: 'duration: seconds from start to end, ringing included; talk: billsec, from answer to end',
    identity: '(uniqueid, sequence) in lines of 21 columns, else the bytes of the line',
    gaps: 'none: sequence counts channels too and begins anew after a restart',
    billing: 'outcome = answered and talk above 0',
  },
};

/** Asterisk's dispositions, in the column `at`. */
export function dispositionAt(at: number | string): WordRule<Outcome> {
  return {
    at,
    words: {
      ANSWERED: 'answered',
      'NO ANSWER': 'no_answer',
      BUSY: 'busy',
      FAILED: 'failed',
      CONGESTION: 'failed',
      CANCEL: 'cancelled',
    },
  };
}
