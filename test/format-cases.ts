import { DELIMITED_SETTINGS } from '../bench/format-lines.ts';

/** How a fixture is read. */
export interface FormatCase {
  readonly file: string;
  /** Of the feed, beside its name and format. */
  readonly settings: object;
  /**
   * What becomes of each line: the reason why it is none, the code, field and byte of what is wrong, or all fields:
   * calling number, displayed caller ID, dialed number, start, duration, talk, outcome, direction, account, call id.
   */
  readonly lines: readonly string[];
}

/** A fixture per format with the traps that its real files have. */
export const FORMAT_CASES: Readonly<Record<string, FormatCase>> = {
  'cisco-cucm': {
    file: 'cisco-cucm.csv',
    settings: {},
    lines: [
      'header',
      'type_row',
      '1002 | +33199000001 | 33199000002# | 2026-01-01T10:00:00.000Z | 90 | 90 | answered | unknown |  | 501',
      '1002 |  | 33199000002# | 2026-01-01T10:00:00.000Z | 0 | 0 | busy | unknown |  | 502',
      '1002 |  |  | 2026-01-01T10:00:00.000Z | 0 | 0 | cancelled | unknown |  | 503',
      'other_record',
      'other_record',
      'header',
      'type_row',
      'header',
      '1005 |  | 1004 | 2026-01-01T10:00:00.000Z | 12 | 12 | answered | unknown |  |',
    ],
  },
  broadworks: {
    file: 'broadworks.csv',
    settings: {},
    lines: [
      'header',
      'marker',
      '+33199000001 |  | 0199000002 | 2026-01-01T10:00:00.125Z | 60.5 | 60.5 | answered | outbound | +33199000001@example.test | net-call-1',
      'Anonymous |  | +33199000004 | 2026-01-01T11:00:00.000Z | 0 | 0 | busy | inbound | u | net-2',
      'interim_record',
      'DURATION_UNREADABLE duration 131',
      'marker',
    ],
  },
  'oracle-acme': {
    file: 'oracle-acme.csv',
    settings: { zone_abbreviations: { PST: '-08:00' } },
    lines: [
      'other_record',
      '33199000001 |  | 33199000002 | 2026-01-02T18:00:00.125Z | 42 | 42 | answered | unknown |  | sess-1',
      '33199000001 |  | anonymous | 2026-01-02T18:00:00.000Z | 0 | 0 | unknown | unknown |  | sess-2',
      'interim_record',
      'START_UNREADABLE start 112',
      'RECORD_KIND_UNKNOWN  0',
    ],
  },
  '3cx': {
    file: '3cx.csv',
    settings: {},
    lines: [
      'Ext.960 |  | 0199000002 | 2026-01-02T13:33:50.000Z | 336 | 336 | answered | outbound | M1 | 00000144BCD2A8F6_1',
      '+33199000001 |  | Ext.960 | 2026-01-02T13:40:00.000Z | 0 |  | cancelled | inbound |  | 00000144BCD2A8F6_2',
      'Ext.1 |  | 2 | 2026-01-02T13:41:00.250Z | 1.5 | 1.5 | answered | unknown |  | 00000144BCD2A8F6_3',
      'COLUMN_COUNT_WRONG  0',
      'FIELD_MISSING duration 27',
    ],
  },
  'ribbon-act': {
    file: 'ribbon-act.csv',
    settings: { country: 'FR' },
    lines: [
      'other_record',
      '33199000001 |  | +33199000002 | 2026-01-02T10:00:00.700Z | 59.37 | 59.37 | answered | unknown |  | 0x00006AF0000001',
      '33199000001 |  | 33199000003 | 2026-01-02T10:00:00.700Z | 0 | 0 | busy | unknown |  | 0x00006AF0000001',
      'interim_record',
      'marker',
      'marker',
      'COLUMN_COUNT_WRONG  0',
      'RECORD_KIND_UNKNOWN  0',
      'START_UNREADABLE start 40',
    ],
  },
  'avaya-smdr': {
    file: 'avaya-smdr.csv',
    settings: { time_zone: 'Europe/London', country: 'GB' },
    lines: [
      '33199000001 |  | +44199004324 | 2026-01-02T09:28:41.000Z | 9 | 0 | no_answer | inbound |  | 1000014155',
      '4324 |  | 933199000002 | 2026-01-02T09:30:57.000Z | 96 | 73 | answered | outbound | A7 | 1000014160',
      '4324 |  | 933199000002 | 2026-01-02T09:30:57.000Z | 81 | 81 | answered | outbound | A7 | 1000014160',
      '4688 |  | 4207 | 2026-01-02T10:27:44.000Z | 48 | 44 | answered | internal |  | 1000014161',
      'DURATION_UNREADABLE duration 20',
    ],
  },
  'freeswitch-csv': {
    file: 'freeswitch-csv.csv',
    settings: { time_zone: 'Europe/Paris', country: 'FR' },
    lines: [
      '+33199000001 | +33199000001 | +33199000002 | 2026-01-02T09:00:00.000Z | 71 | 66 | answered | unknown | acc1 | uuid-1',
      '0 | 0 | & | 2026-01-02T09:00:00.000Z | 7 | 0 | no_answer | unknown |  | uuid-2',
      '0 | 0 | & | 2026-01-02T09:00:00.000Z | 7 | 0 | no_answer | unknown |  | uuid-2',
      '0 | 0 | & | 2026-01-02T09:00:00.000Z | 7 | 0 | cancelled | unknown |  | uuid-2',
      'DURATION_UNREADABLE duration 69',
      'COLUMN_COUNT_WRONG  0',
    ],
  },
  'asterisk-custom': {
    file: 'asterisk-custom.csv',
    settings: {
      time_zone: 'Europe/Paris',
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
    lines: [
      '33199000001 | 33199000009 | 33199000002 | 2026-01-02T09:00:00.000Z | 5 | 0 | no_answer | unknown |  | 1767344400.7',
      ' |  | s | 2026-01-02T09:00:00.000Z | 5 | 4 | answered | unknown |  | pbx-1767344400.8',
      'COLUMN_COUNT_WRONG  0',
    ],
  },
  'opensips-acc': {
    file: 'opensips-acc.csv',
    settings: {},
    lines: [
      '+33199000001 |  | 33199000002 | 2026-01-02T10:00:00.000Z | 66 | 66 | answered | unknown |  | call-1',
      '33199000001 |  | *72 | 2026-01-02T10:00:09.000Z | 0 | 0 | busy | unknown |  | call-2',
      'other_record',
      'a |  | b | 2026-01-02T10:00:09.000Z | 0 | 0 | failed | unknown |  | call-3',
    ],
  },
  'kamailio-acc': {
    file: 'kamailio-acc.csv',
    settings: { time_zone: 'Europe/Paris' },
    lines: [
      '33199000001 |  | +33199000002 | 2026-01-02T09:00:00.000Z | 71.25 |  | unknown | unknown |  | call-1',
      '33199000001 |  | 33199000002 | 2026-01-02T09:00:00.000Z | 0 |  | cancelled | unknown |  | call-2',
    ],
  },
  'freeswitch-json': {
    file: 'freeswitch-json.json',
    settings: {},
    lines: [
      '+33199000001 | 0199000009 | +33199000002 | 2026-01-02T10:25:44.123Z | 71 | 68 | answered | unknown | acc 1 | u1',
      '+33199000001 | 0199000009 | +33199000002 | 2026-01-02T10:25:44.123Z | 71 | 0 | busy | unknown | acc 1 | u2',
      'DURATION_UNREADABLE duration 190',
      'JSON_VALUE_NESTED  25',
      'JSON_NOT_AN_OBJECT  0',
      'JSON_MALFORMED  5',
    ],
  },
  'canonical-json': {
    file: 'canonical-json.json',
    settings: {},
    lines: [
      '+33199000001 | anonymous | *72 | 2026-01-02T09:00:00.250Z | 60.5 |  | busy | unknown | été | c-1',
      'OUTCOME_UNREADABLE outcome 104',
      'FIELD_MISSING duration 0',
    ],
  },
  'yeastar-json': {
    file: 'yeastar-json.json',
    settings: { time_zone: 'Asia/Shanghai' },
    lines: [
      '1001 |  | 33199000002 | 2026-01-02T09:00:00.000Z | 21 | 10 | answered | outbound |  | 1767344400.318',
      'Nora |  | 1005 | 2026-01-02T09:00:01.000Z | 6 | 0 | no_answer | internal |  | 1767344401.319',
      'other_record',
    ],
  },
  '3cx-json': {
    file: '3cx-json.json',
    settings: {},
    lines: [
      'Ext.141 |  | 314 | 2026-01-02T20:39:13.000Z | 24 | 24 | answered | unknown |  | 00000175196381E2_1',
      '+33199000001 |  | Ext.314 | 2026-01-02T20:40:00.000Z | 0 |  | no_answer | inbound |  | x2',
    ],
  },
  delimited: {
    file: 'delimited.csv',
    settings: {
      encoding: 'windows-1252',
      country: 'DE',
      time_zone: 'Europe/Berlin',
      delimited: {
        ...DELIMITED_SETTINGS,
        comment: '#',
        outcomes: { ok: 'answered' },
        directions: { ab: 'outbound' },
      },
    },
    lines: [
      'comment',
      'header',
      '+49199000001 |  | +49199000002 | 2026-01-02T09:00:00.000Z | 65 |  | answered | outbound | M;1 |',
      'header',
      'START_UNREADABLE start 22',
      '+49199000003 |  | +49199000002 | 2026-01-02T09:00:01.000Z | 65 |  | unknown | unknown |  |',
      'COLUMN_COUNT_WRONG  0',
    ],
  },
};
