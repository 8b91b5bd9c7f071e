import type { Format } from './format.ts';

const TIME = 'HH:mm:ss.SSS zzz MMM dd yyyy';

/**
 * Oracle (Acme Packet) SBC's local CDR files: RADIUS attributes by position. Only Stop records (first column 2) are
 * calls. Lines have 175 or 269 columns in one file; the columns used here stand before the difference. Quotes inside
 * quoted fields are not escaped. Numbers are From and To headers.
 */
export const oracleAcme: Format = {
  name: 'oracle-acme',
  version: 1,
  summary: 'Oracle (Acme Packet) SBC local CDR files, Stop records',
  syntax: { kind: 'delimited', separator: ',', quotes: 'lenient', columns: { by: 'position' } },
  skip: [
    { at: 0, is: ['3'], reason: 'interim_record' },
    { at: 0, is: ['1', '7', '8'], reason: 'other_record' },
  ],
  records: [
    {
      when: { at: 0, is: ['2'] },
      callingNumber: { at: 9, reading: 'uri' },
      dialedNumber: { at: 10, reading: 'uri' },
      start: { at: 13, notation: TIME },
      duration: { at: 12, unit: 's' },
      talk: { at: 12, unit: 's' },
      outcome: {
        rules: [{ time: { at: 14, notation: TIME }, filled: 'answered' }],
        otherwise: 'unknown',
      },
      callId: 3,
    },
  ],
  about: {
    zone: 'the abbreviation in each time; all but UTC, GMT and Z must stand in zone_abbreviations of the feed',
    duration: 'duration and talk: Acct-Session-Time, seconds from connect to disconnect',
    identity: 'the bytes of the line: a forked call has several Stop records of one session',
    gaps: 'none that proves them: Acme-CDR-Sequence-Number counts other records too, and its place depends on the release',
    billing: 'outcome = answered and talk above 0',
  },
};
