import type { Format } from './format.ts';
import { Q850_OUTCOMES } from './q850.ts';

/**
 * Cisco Unified CM's CDR flat files (`cdr_<cluster>_<node>_<time>_<sequence>`): a header line with the names of the
 * columns, a line with their SQL types, then records. The set of columns grows with each release, so they are found by
 * name. The `cmr_…` files of the same folder have records of type 2 (quality), which are passed over. Source: Cisco's CDR
 * administration guide.
 */
export const ciscoCucm: Format = {
  name: 'cisco-cucm',
  version: 1,
  summary: 'Cisco Unified CM CDR flat files, by their header line',
  syntax: {
    kind: 'delimited',
    separator: ',',
    quotes: 'rfc4180',
    columns: { by: 'header', first: 'cdrRecordType' },
  },
  skip: [
    { at: 'cdrRecordType', is: ['INTEGER'], reason: 'type_row' },
    { at: 'cdrRecordType', isNot: ['1'], reason: 'other_record' },
  ],
  records: [
    {
      callingNumber: { at: 'callingPartyNumber' },
      displayedCallerId: { at: 'outpulsedCallingPartyNumber' },
      dialedNumber: { at: ['originalCalledPartyNumber', 'finalCalledPartyNumber'] },
      start: { at: 'dateTimeOrigination', notation: 'epoch-s' },
      duration: { at: 'duration', unit: 's' },
      talk: { at: 'duration', unit: 's' },
      outcome: {
        rules: [
          { time: { at: 'dateTimeConnect', notation: 'epoch-s' }, filled: 'answered' },
          { at: 'destCause_value', words: Q850_OUTCOMES },
          { at: 'origCause_value', words: { ...Q850_OUTCOMES, '16': 'cancelled' } },
        ],
        otherwise: 'unknown',
      },
      account: 'clientMatterCode',
      callId: 'globalCallID_callId',
      recordId: [
        'globalCallID_callManagerId',
        'globalCallID_callId',
        'origLegCallIdentifier',
        'destLegIdentifier',
        'pkid',
      ],
    },
  ],
  about: {
    zone: 'UTC: epoch seconds; the time zone of the feed is of no use',
    duration: 'duration and talk: seconds from connect to disconnect, 0 when not connected',
    identity: 'global call id, both legs and pkid',
    gaps: 'the sequence at the end of the file names; call ids skip legitimately',
    billing: 'outcome = answered and talk above 0; a transferred call has a record for each part',
  },
};
