import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { lastCalendarYear, Traffic } from '../ingest/generate/traffic.ts';

/*
 * The same calls as each format writes them: a line of its fixture with the numbers, the start and the id of a generated
 * call in it. What else stands in the line is the same in all of them.
 */

/** How a format's lines are made. */
export interface FormatLines {
  readonly format: string;
  /** Settings of its feed. */
  readonly settings: object;
  /** Lines of `records` calls with the head that each message needs, in messages of about this many bytes. */
  messages(records: number, messageBytes: number): Buffer[];
}

/** A call in the texts that lines are made of. */
interface Call {
  readonly calling: string;
  readonly displayed: string;
  readonly dialed: string;
  readonly duration: string;
  readonly talk: string;
  readonly callId: string;
  readonly outcome: string;
  readonly account: string;
  readonly start: string;
  /** Parts of the start, in UTC: `2026-01-02`, `10:00:00`. */
  readonly day: string;
  readonly time: string;
  readonly epoch: string;
}

interface Template {
  readonly file: string;
  /** Lines of the file, from 0: the head of a message, and the record. */
  readonly head?: number;
  readonly line: number;
  /** Texts of the line, and what stands there instead. */
  readonly with: Readonly<Record<string, (call: Call) => string>>;
  readonly settings?: object;
}

/** What the lines of the fixture `delimited.csv` are. */
export const DELIMITED_SETTINGS = {
  separator: ';',
  header: true,
  start: 'dd.MM.yyyy',
  time_of_day: 'HH:mm:ss',
  duration_unit: 'mm:ss',
  number_reading: 'name-addr',
  columns: {
    calling_number: 'von',
    dialed_number: 'nach',
    start: 'datum',
    time_of_day: 'uhrzeit',
    duration: 'dauer',
    outcome: 'ergebnis',
    direction: 'richtung',
    account: 'wer',
  },
} as const;

const calling = (call: Call): string => call.calling;
const dialed = (call: Call): string => call.dialed;
const callId = (call: Call): string => call.callId;
const epoch = (call: Call): string => call.epoch;
const local = ({ day, time }: Call): string => `${day} ${time}`;
const slashes = ({ day, time }: Call): string => `${day.replaceAll('-', '/')} ${time}`;
const [year, month, dayOfMonth] = [0, 5, 8].map(
  (at) =>
    ({ day }: Call) =>
      day.slice(at, at === 0 ? 4 : at + 2),
) as [(call: Call) => string, (call: Call) => string, (call: Call) => string];
const MONTHS = ['JAN', 'FEB', 'MAR', 'APR', 'MAY', 'JUN', 'JUL', 'AUG', 'SEP', 'OCT', 'NOV', 'DEC'];

const TEMPLATES: Readonly<Record<string, Template>> = {
  'asterisk-csv': {
    file: 'asterisk-21-columns.csv',
    line: 2,
    with: {
      '89245558642': calling,
      '"211553"': (call) => `"${call.dialed}"`,
      '2024-01-27 15:33:20': local,
      '1706369600.6': callId,
    },
  },
  'asterisk-custom': {
    file: 'asterisk-custom.csv',
    line: 0,
    with: {
      '33199000001': calling,
      '33199000002': dialed,
      '2026-01-02 10:00:00': local,
      '1767344400.7': callId,
    },
    settings: {
      columns: [
        'clid',
        'src',
        'dst',
        'start',
        'answer',
        'duration',
        'billsec',
        'disposition',
        'uniqueid',
        'sequence',
      ],
    },
  },
  'freeswitch-csv': {
    file: 'freeswitch-csv.csv',
    line: 0,
    with: { '0199000001': calling, '0199000002': dialed, '2026-01-02 10:00:00': local, 'uuid-1': callId },
  },
  'freeswitch-json': {
    file: 'freeswitch-json.jsonl',
    line: 0,
    with: {
      '+33199001001': calling,
      '+33199001234': dialed,
      '1772355600': epoch,
      '5f1c0000-0000-4000-8000-000000000001': callId,
    },
  },
  'cisco-cucm': {
    file: 'cisco-cucm.csv',
    head: 0,
    line: 2,
    with: {
      '1002"': (call) => `${call.calling}"`,
      '33199000002#': dialed,
      '1767261600': epoch,
      '501': callId,
    },
  },
  'oracle-acme': {
    file: 'oracle-acme.csv',
    line: 1,
    with: {
      '33199000001': calling,
      '33199000002': dialed,
      '10:00:00.125 PST JAN 02 2026': (call) =>
        `${call.time}.125 PST ${MONTHS[Number(month(call)) - 1]} ${dayOfMonth(call)} ${year(call)}`,
      'sess-1': callId,
    },
    settings: { zone_abbreviations: { PST: '-08:00' } },
  },
  broadworks: {
    file: 'broadworks.csv',
    head: 0,
    line: 2,
    with: {
      '+33199000001': calling,
      '0199000002': dialed,
      '20260101100000.125': ({ day, time }) => `${day.replaceAll('-', '')}${time.replaceAll(':', '')}.125`,
      '00001A20260101100000.1001-000000': callId,
      'net-call-1': callId,
    },
  },
  '3cx': {
    file: '3cx.csv',
    line: 0,
    with: {
      'Ext.960': calling,
      '0199000002': dialed,
      '2026/01/02 13:33:50': slashes,
      '00000144BCD2A8F6_1': callId,
    },
  },
  '3cx-json': {
    file: '3cx-json.json',
    line: 0,
    with: {
      'Ext.141': calling,
      '"314"': (call) => `"${call.dialed}"`,
      '2026-01-02T20:39:13.000Z': (call) => call.start,
      '00000175196381E2_1': callId,
    },
  },
  'avaya-smdr': {
    file: 'avaya-smdr.csv',
    line: 1,
    with: {
      '4324@192.0.2.7': calling,
      '933199000002': dialed,
      '2026/01/02 09:30:57': slashes,
      '1000014160': callId,
    },
  },
  'ribbon-act': {
    file: 'ribbon-act.csv',
    line: 1,
    with: {
      '33199000001': calling,
      '0033199000002': dialed,
      '01/02/2026,10:00:00': (call) => `${month(call)}/${dayOfMonth(call)}/${year(call)},${call.time}`,
      '0x00006AF0000001': callId,
    },
  },
  'yeastar-json': {
    file: 'yeastar-json.json',
    line: 0,
    with: {
      '"1001"': (call) => `"${call.calling}"`,
      '33199000002': dialed,
      '2026-01-02 17:00:00': local,
      '1767344400.318': callId,
    },
  },
  'opensips-acc': {
    file: 'opensips-acc.csv',
    line: 0,
    with: { '+33199000001': calling, '33199000002': dialed, '1767348000': epoch, 'call-1': callId },
  },
  'kamailio-acc': {
    file: 'kamailio-acc.csv',
    line: 0,
    with: { '33199000001': calling, '+33199000002': dialed, '2026-01-02 10:00:00': local, 'call-1': callId },
  },
  delimited: {
    file: 'delimited.csv',
    head: 1,
    line: 2,
    with: {
      '0199000001': calling,
      '0199000002': dialed,
      '02.01.2026;10:00:00': (call) => `${dayOfMonth(call)}.${month(call)}.${year(call)};${call.time}`,
      'M;1': callId,
    },
    settings: {
      encoding: 'windows-1252',
      delimited: DELIMITED_SETTINGS,
    },
  },
};

/** Every format that is measured, canonical-csv first. */
export const FORMAT_LINES: readonly FormatLines[] = [
  { format: 'canonical-csv', settings: {}, messages: packer(undefined, (line) => line) },
  {
    format: 'canonical-json',
    settings: {},
    messages: packer(undefined, (line) => {
      const call = callOf(line);
      return JSON.stringify({
        calling_number: call.calling,
        displayed_caller_id: call.displayed,
        dialed_number: call.dialed,
        start: call.start,
        duration: Number(call.duration),
        talk_duration: Number(call.talk),
        call_id: call.callId,
        outcome: call.outcome,
        account: call.account,
      });
    }),
  },
  ...Object.entries(TEMPLATES).map(([format, template]): FormatLines => {
    const lines = fixtureLines(template.file);
    const parts = partsOf(lines[template.line]!, template.with);
    return {
      format,
      settings: template.settings ?? {},
      messages: packer(template.head === undefined ? undefined : lines[template.head], (line) => {
        const call = callOf(line);
        return parts.map((part) => (typeof part === 'string' ? part : part(call))).join('');
      }),
    };
  }),
];

function fixtureLines(name: string): string[] {
  return readFileSync(fileURLToPath(new URL(`../../test/fixtures/${name}`, import.meta.url)), 'latin1').split(
    '\n',
  );
}

/** The line cut where something else is put in. */
function partsOf(line: string, replaced: Template['with']): (string | ((call: Call) => string))[] {
  let parts: (string | ((call: Call) => string))[] = [line];
  for (const [text, by] of Object.entries(replaced)) {
    if (!line.includes(text)) throw new Error(`the fixture has no ${text}`);
    parts = parts.flatMap((part) =>
      typeof part === 'string'
        ? part.split(text).flatMap((piece, i) => (i === 0 ? [piece] : [by, piece]))
        : [part],
    );
  }
  return parts;
}

/** @param line of canonical-csv */
function callOf(line: string): Call {
  const [callingNumber, displayed, dialedNumber, start, duration, talk, id, outcome, account] =
    line.split(',');
  return {
    calling: callingNumber!,
    displayed: displayed!,
    dialed: dialedNumber!,
    start: start!,
    duration: duration!,
    talk: talk!,
    callId: id!,
    outcome: outcome!,
    account: account ?? '',
    day: start!.slice(0, 10),
    time: start!.slice(11, 19),
    epoch: String(Math.floor(Date.parse(start!) / 1000)),
  };
}

/** @param write the line of a format, of that of canonical-csv; Latin-1 */
function packer(
  head: string | undefined,
  write: (line: string) => string,
): (records: number, messageBytes: number) => Buffer[] {
  return (records, messageBytes) => {
    const traffic = new Traffic(1, records, lastCalendarYear(Date.now()));
    const messages: Buffer[] = [];
    let text = '';
    for (let record = 0; record < records; record++) {
      if (text === '' && head !== undefined) text = `${head}\n`;
      text += `${write(traffic.line(record))}\n`;
      if (text.length < messageBytes && record < records - 1) continue;
      messages.push(Buffer.from(text, 'latin1'));
      text = '';
    }
    return messages;
  };
}
