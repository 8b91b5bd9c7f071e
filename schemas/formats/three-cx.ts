import type { Direction } from '../record.ts';
import type { Format, RecordShape } from './format.ts';

/** The columns of 3CX in the order in which it writes them by default. */
const COLUMNS = [
  'historyid',
  'callid',
  'duration',
  'time-start',
  'time-answered',
  'time-end',
  'reason-terminated',
  'from-no',
  'to-no',
  'from-dn',
  'to-dn',
  'dial-no',
  'reason-changed',
  'final-number',
  'final-dn',
  'bill-code',
  'bill-rate',
  'bill-cost',
  'bill-name',
  'chain',
  'from-type',
  'to-type',
  'final-type',
  'from-dispname',
  'to-dispname',
  'final-dispname',
  'missed-queue-calls',
];

/**
 * 3CX's CDR lines, from a file or a socket: `Call ` and then fields without quotes, so that a comma in a name makes the
 * line one column too long, and rejected. Enumerations differ in case and spelling from one release to the next.
 */
export const threeCx: Format = {
  name: '3cx',
  version: 1,
  summary: "3CX CDR lines (`Call …`) with the feed's columns",
  syntax: {
    kind: 'delimited',
    separator: ',',
    quotes: 'none',
    columns: { by: 'list', names: COLUMNS, known: COLUMNS },
    linePrefix: 'Call ',
  },
  records: [shape((name) => name, 'callid', 'yyyy/MM/dd HH:mm:ss[.u]')],
  about: {
    zone: 'UTC in newer releases, local time in older ones: look at one call before the first shipment',
    ...meaning(),
  },
};

/** The same records as 3CX's API gives them: names in camel case, times in ISO 8601. */
export const threeCxJson: Format = {
  name: '3cx-json',
  version: 1,
  summary: '3CX call records of its API, one JSON object a line',
  syntax: { kind: 'json' },
  records: [
    shape((name) => name.replace(/-([a-z])/g, (_, letter: string) => letter.toUpperCase()), 'callId', 'iso'),
  ],
  about: { zone: 'as written: UTC', ...meaning() },
};

/** @param place the name of a column as this kind of record has it */
function shape(place: (name: string) => string, callId: string, notation: string): RecordShape {
  const answered = { at: place('time-answered'), notation };
  const duration = { at: place('duration'), unit: 'hh:mm:ss', emptyUnanswered: true } as const;
  return {
    callingNumber: { at: place('from-no') },
    dialedNumber: { at: [place('dial-no'), place('to-no')] },
    start: { at: place('time-start'), notation },
    duration,
    talk: duration,
    outcome: {
      rules: [
        { time: answered, filled: 'answered' },
        {
          at: place('reason-terminated'),
          ignoreCase: true,
          words: {
            TerminatedBySrc: 'cancelled',
            src_participant_terminated: 'cancelled',
            FailedCancelled: 'cancelled',
            NoAnswer: 'no_answer',
            no_answer: 'no_answer',
            FailedNoAnswer: 'no_answer',
            Busy: 'busy',
            FailedBusy: 'busy',
            NotFound: 'failed',
            Rejected: 'failed',
          },
        },
      ],
      otherwise: 'unknown',
    },
    direction: [
      { at: place('from-type'), words: lines('inbound'), ignoreCase: true },
      { at: place('to-type'), words: lines('outbound'), ignoreCase: true },
      { at: place('final-type'), words: lines('outbound'), ignoreCase: true },
    ],
    account: place('bill-code'),
    callId,
  };
}

function meaning() {
  return {
    duration: 'duration and talk: hh:mm:ss from answer to end, cut to seconds; empty when not answered',
    identity: 'the bytes of the line: callid is not unique',
    gaps: 'none',
    billing: 'outcome = answered, direction = outbound; the parts of a call share historyid',
  };
}

/** What it means that one end of the call is a trunk. */
function lines(direction: Direction): Record<string, Direction> {
  return Object.fromEntries(
    ['Line', 'ExternalLine', 'external_line', 'Provider'].map((word) => [word, direction]),
  );
}
