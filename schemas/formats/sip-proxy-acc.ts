import type { Outcome } from '../record.ts';
import type { Format, RecordShape, WordRule } from './format.ts';

/*
 * The acc modules of OpenSIPS and Kamailio in CDR mode, as flat files (`|`, no quotes) or exports of their tables. Their
 * transaction mode (INVITE and BYE apart, no duration) is none of these formats. The columns with the numbers are those
 * that the proxy's configuration adds, under whatever name: common ones are known.
 */

const CALLING = ['caller', 'caller_id', 'src_user', 'from_user', 'src_uri', 'from_uri'];
const DIALED = ['callee', 'callee_id', 'dst_ouser', 'dst_user', 'to_user', 'dst_uri', 'to_uri'];

export const opensipsAcc: Format = {
  name: 'opensips-acc',
  version: 1,
  summary: "OpenSIPS acc in CDR mode with the feed's columns, separated by |",
  syntax: {
    kind: 'delimited',
    separator: '|',
    quotes: 'none',
    columns: {
      by: 'list',
      names: [
        'method',
        'from_tag',
        'to_tag',
        'callid',
        'sip_code',
        'sip_reason',
        'time',
        'duration',
        'ms_duration',
        'setuptime',
        'created',
        'caller',
        'callee',
      ],
    },
  },
  skip: [{ at: 'method', isNot: ['INVITE'], reason: 'other_record' }],
  records: [
    {
      ...numbers(),
      // The INVITE; `time` is the answer.
      start: [
        { at: 'created', notation: 'iso-or-epoch' },
        { at: 'time', notation: 'iso-or-epoch' },
      ],
      duration: { at: 'duration', unit: 's' },
      talk: { at: 'duration', unit: 's' },
      outcome: { rules: [sipCode()], otherwise: 'failed' },
    },
  ],
  about: {
    zone: 'epoch seconds in flat files; local time of the host in tables',
    duration: 'duration and talk: seconds from answer to end; setuptime is the time before',
    identity: 'the bytes of the line',
    gaps: 'none',
    billing: 'outcome = answered and talk above 0',
  },
};

export const kamailioAcc: Format = {
  name: 'kamailio-acc',
  version: 1,
  summary: "Kamailio acc in CDR mode (acc_cdrs) with the feed's columns, separated by |",
  syntax: {
    kind: 'delimited',
    separator: '|',
    quotes: 'none',
    columns: {
      by: 'list',
      names: ['start_time', 'end_time', 'duration', 'caller', 'callee', 'callid', 'sip_code'],
    },
  },
  records: [
    {
      ...numbers(),
      start: { at: 'start_time', notation: 'iso-or-epoch' },
      duration: { at: 'duration', unit: 's' },
      outcome: { rules: [sipCode()], otherwise: 'failed' },
    },
  ],
  about: {
    zone: 'local time of the host, UTC only with time_mode=4; epoch seconds in flat files',
    duration:
      'duration: seconds from start to end with ms; the start is the INVITE, or the answer with cdr_start_on_confirmed; talk: unknown',
    identity: 'the bytes of the line',
    gaps: 'none',
    billing: 'cdr_start_on_confirmed=1, and all records with a duration above 0',
  },
};

function numbers(): Pick<
  RecordShape,
  'callingNumber' | 'displayedCallerId' | 'dialedNumber' | 'account' | 'callId'
> {
  return {
    callingNumber: { at: CALLING, reading: 'uri' },
    displayedCallerId: { at: ['displayed_caller_id', 'pai', 'asserted_id'], reading: 'uri' },
    dialedNumber: { at: DIALED, reading: 'uri' },
    account: 'account',
    callId: 'callid',
  };
}

function sipCode(): WordRule<Outcome> {
  return {
    at: 'sip_code',
    words: {
      '200': 'answered',
      '408': 'no_answer',
      '480': 'no_answer',
      '486': 'busy',
      '487': 'cancelled',
      '600': 'busy',
    },
  };
}
