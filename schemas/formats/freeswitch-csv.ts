import type { Format } from './format.ts';
import { freeswitchTimes } from './freeswitch.ts';

/**
 * FreeSWITCH's mod_cdr_csv: a template of channel variables, by default the shipped one named `example`. All values are
 * quoted, and quotes inside them are not escaped. A file that went through a spreadsheet is none of this format: read
 * it as `delimited`.
 */
export const freeswitchCsv: Format = {
  name: 'freeswitch-csv',
  version: 1,
  summary: "FreeSWITCH mod_cdr_csv with the feed's columns (channel variables of the template)",
  syntax: {
    kind: 'delimited',
    separator: ',',
    quotes: 'lenient',
    columns: {
      by: 'list',
      names: [
        'caller_id_name',
        'caller_id_number',
        'destination_number',
        'context',
        'start_stamp',
        'answer_stamp',
        'end_stamp',
        'duration',
        'billsec',
        'hangup_cause',
        'uuid',
        'bleg_uuid',
        'accountcode',
        'read_codec',
        'write_codec',
      ],
    },
  },
  records: [
    {
      callingNumber: { at: ['ani', 'caller_id_number'] },
      displayedCallerId: { at: 'caller_id_number' },
      dialedNumber: { at: 'destination_number' },
      ...freeswitchTimes(''),
    },
  ],
  about: {
    zone: 'local time of the host; epoch columns, where the template has them, are UTC',
    duration: 'duration: seconds from start to end, ringing included; talk: billsec, from answer to end',
    identity: 'the bytes of the line: a uuid has several records',
    gaps: 'none',
    billing: 'outcome = answered and talk above 0; with legs=ab only one of the two legs',
  },
};
