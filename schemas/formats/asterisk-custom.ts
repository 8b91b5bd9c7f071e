import { dispositionAt } from './asterisk-csv.ts';
import type { Format } from './format.ts';

/** The variables of Asterisk's CDR function. */
const VARIABLES = [
  'accountcode',
  'src',
  'dst',
  'dcontext',
  'clid',
  'channel',
  'dstchannel',
  'lastapp',
  'lastdata',
  'start',
  'answer',
  'end',
  'duration',
  'billsec',
  'disposition',
  'amaflags',
  'uniqueid',
  'userfield',
  'peeraccount',
  'linkedid',
  'sequence',
];

/**
 * Asterisk's cdr_custom: the columns are those of cdr_custom.conf, whose shipped example is the default here. Every
 * field is quoted (`CSV_QUOTE`), empty ones too.
 */
export const asteriskCustom: Format = {
  name: 'asterisk-custom',
  version: 1,
  summary: "Asterisk cdr_custom with the feed's columns (names of CDR variables)",
  syntax: {
    kind: 'delimited',
    separator: ',',
    quotes: 'rfc4180',
    columns: {
      by: 'list',
      known: VARIABLES,
      names: [
        'clid',
        'src',
        'dst',
        'dcontext',
        'channel',
        'dstchannel',
        'lastapp',
        'lastdata',
        'start',
        'answer',
        'end',
        'duration',
        'billsec',
        'disposition',
        'amaflags',
        'accountcode',
        'uniqueid',
        'userfield',
        'sequence',
      ],
    },
  },
  records: [
    {
      account: 'accountcode',
      callingNumber: { at: 'src' },
      dialedNumber: { at: 'dst' },
      displayedCallerId: { at: 'clid', reading: 'name-addr' },
      start: { at: 'start', notation: 'local' },
      duration: { at: 'duration', unit: 's' },
      talk: { at: 'billsec', unit: 's' },
      outcome: { rules: [dispositionAt('disposition')], otherwise: 'unknown' },
      callId: 'uniqueid',
      recordId: ['uniqueid', 'sequence'],
    },
  ],
  epochId: 'uniqueid',
  about: {
    zone: 'local time of the host, unless usegmtime=yes',
    duration: 'duration: seconds from start to end, ringing included; talk: billsec, from answer to end',
    identity: '(uniqueid, sequence) where the columns have both, else the bytes of the line',
    gaps: 'none',
    billing: 'outcome = answered and talk above 0',
  },
};
