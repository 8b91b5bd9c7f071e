import tap from 'tap';
import { readFileSync } from 'node:fs';
import { BatchMemory } from '../../../ingest/parse/batch-memory.ts';
import { compileJsonPaths, type JsonColumn } from '../../../ingest/parse/json-paths.ts';
import { jsonArenaBytes, JsonSplitter } from '../../../ingest/parse/json-splitter.ts';
import { fixture } from '../../cdrhouse-program.ts';

/** The lines of what JSON switches write, with their traps: what stands at the paths of our fields. */
const memory = new BatchMemory();

type Columns = Readonly<Record<string, string | JsonColumn>>;

/** For each line its columns that are not empty, or the fault. */
function read(file: string, columns: Columns): (Record<string, string> | string)[] {
  const bytes = readFileSync(fixture(file));
  const splitter = new JsonSplitter(memory, compileJsonPaths(Object.values(columns)));
  memory.prepare(bytes.length + jsonArenaBytes(bytes.length));
  const start = memory.load(bytes);
  const arena = memory.top;
  const records: (Record<string, string> | string)[] = [];
  for (let at = start; at < start + bytes.length; at = splitter.next) {
    memory.top = arena;
    splitter.split(at, start + bytes.length);
    if (splitter.fault >= 0) {
      records.push(`${splitter.faultCode} at ${splitter.fault - at}`);
      continue;
    }
    const fields = Object.keys(columns).map((name, i): [string, string] => [
      name,
      Buffer.from(memory.bytes.subarray(splitter.starts[i], splitter.ends[i])).toString(),
    ]);
    records.push(Object.fromEntries(fields.filter(([, text]) => text !== '')));
  }
  return records;
}

/** A field of the first profile of a call: newer switches write an array, older ones the same key again and again. */
function oldest(...fields: readonly string[]): JsonColumn {
  return {
    paths: fields.flatMap((field) => [
      `callflow[-1].caller_profile.${field}`,
      `callflow.caller_profile.${field}`,
    ]),
  };
}

const FREESWITCH: Columns = {
  calling: oldest('ani', 'caller_id_number'),
  displayed: oldest('caller_id_number'),
  dialed: oldest('destination_number'),
  start: { paths: ['variables.start_uepoch', 'variables.start_epoch'] },
  duration: 'variables.duration',
  talk: 'variables.billsec',
  answered: 'variables.answer_epoch',
  cause: 'variables.hangup_cause',
  direction: { paths: ['variables.direction', 'channel_data.direction'] },
  callId: { paths: ['variables.call_uuid', 'variables.uuid'] },
  uuid: 'variables.uuid',
  account: { paths: ['variables.accountcode'], percentDecoded: true },
};

/** The ids of the calls in the fixture. */
function uuid(call: number): string {
  return `5f1c0000-0000-4000-8000-00000000000${call}`;
}

await tap.test('FreeSWITCH, mod_json_cdr', async (t) => {
  const first = {
    calling: '+33199001001',
    displayed: '+33199001001',
    dialed: '+33199001234',
    start: '1772355600250000',
    duration: '71',
    talk: '68',
    answered: '1772355603',
    cause: 'NORMAL_CLEARING',
    direction: 'inbound',
    callId: uuid(1),
    uuid: uuid(1),
    account: 'été & co',
  };
  const found = read('freeswitch-json.jsonl', FREESWITCH);
  t.strictSame(found, [
    first,
    {
      calling: 'anonymous',
      displayed: 'anonymous',
      dialed: '1003',
      start: '1772355700999999',
      duration: '14',
      talk: '0',
      answered: '0',
      cause: 'ORIGINATOR_CANCEL',
      direction: 'inbound',
      callId: uuid(2),
      uuid: uuid(2),
    },
    {
      ...first,
      dialed: '1005',
      start: '1772355800',
      duration: '21',
      talk: '15',
      callId: uuid(3),
      uuid: uuid(3),
    },
    {
      ...first,
      duration: '-1772355600',
      talk: '0',
      answered: '0',
      cause: 'NORMAL_UNSPECIFIED',
      callId: uuid(4),
      uuid: uuid(4),
    },
    { ...first, dialed: '*72*1234', callId: uuid(5), uuid: uuid(5) },
    {
      ...first,
      displayed: '+33199001000',
      dialed: '1003',
      duration: '68',
      direction: 'outbound',
      callId: uuid(1),
      uuid: uuid(6),
    },
    { ...first, cause: 'ATTENDED_TRANSFER' },
    first,
    'JSON_MALFORMED at 1500',
    'JSON_MALFORMED at 0',
    'JSON_NOT_AN_OBJECT at 0',
  ]);
});

await tap.test('3CX, records of its API', async (t) => {
  const columns: Columns = {
    calling: 'fromNo',
    displayed: 'fromDispname',
    dialed: { paths: ['dialNo', 'toNo'] },
    start: 'timeStart',
    answered: 'timeAnswered',
    duration: 'duration',
    reason: 'reasonTerminated',
    from: 'fromType',
    to: 'toType',
    callId: 'callId',
    history: 'historyId',
  };
  const first = {
    calling: 'Ext.141',
    dialed: '314',
    start: '2026-03-01T09:00:00.000Z',
    answered: '2026-03-01T09:00:03.000Z',
    duration: '00:00:24',
    reason: 'TerminatedBySrc',
    from: 'Extension',
    to: 'Extension',
    callId: '00000175196381E2_549589',
    history: '3268379',
  };
  const { answered: _answered, ...unanswered } = first;
  t.strictSame(read('3cx-api.jsonl', columns), [
    first,
    {
      ...first,
      calling: '+33199001001',
      displayed: 'Café d\'Or, "Paris"',
      start: '2026-03-01T09:00:28.000Z',
      duration: '00:05:36.4120000',
      reason: 'dst_participant_terminated',
      from: 'Line',
    },
    {
      ...unanswered,
      dialed: '+33199001234',
      duration: '00:00:00',
      reason: 'src_participant_terminated',
      to: 'externalline',
    },
    {
      calling: 'Ext.142',
      start: '2026-03-01T09:10:00.000Z',
      answered: '2026-03-01T09:10:05.000Z',
      duration: '00:01:00',
    },
  ]);
});

await tap.test('Yeastar, old names and new ones', async (t) => {
  const columns: Columns = {
    calling: { paths: ['callfrom', 'call_from'] },
    dialed: { paths: ['didnumber', 'did_number', 'callto', 'call_to'] },
    start: { paths: ['timestart', 'time_start'] },
    duration: { paths: ['callduraction', 'call_duration'] },
    talk: { paths: ['talkduraction', 'talk_duration'] },
    status: 'status',
    type: 'type',
    callId: { paths: ['callid', 'cdrid', 'call_id'] },
  };
  t.strictSame(read('yeastar-json.jsonl', columns), [
    {
      calling: '1001',
      dialed: '1005',
      start: '2026-03-01 10:00:00',
      duration: '21',
      talk: '10',
      status: 'ANSWERED',
      type: 'Internal',
      callId: '1772355600.318',
    },
    {
      calling: '+33199001001',
      dialed: '+33199001234',
      start: '2026-03-01 10:01:40',
      duration: '19',
      talk: '0',
      status: 'NO ANSWERED',
      type: 'Inbound',
      callId: '1772355700.5',
    },
    {
      calling: 'Zoë<2005>',
      dialed: '2002',
      start: '2026-03-01 10:03:20',
      duration: '24',
      talk: '21',
      status: 'ANSWERED',
      type: 'Internal',
      callId: '1772355800.362',
    },
    { type: '30012' },
  ]);
});

await tap.test('our own format', async (t) => {
  const names = [
    'calling_number',
    'displayed_caller_id',
    'dialed_number',
    'start',
    'duration',
    'talk_duration',
  ];
  const columns = Object.fromEntries([...names, 'call_id', 'outcome', 'account'].map((name) => [name, name]));
  t.strictSame(read('canonical-json.jsonl', columns), [
    {
      calling_number: '+33199001001',
      displayed_caller_id: '+33199001000',
      dialed_number: '+33199001234',
      start: '2026-03-01T10:00:00.250+01:00',
      duration: '71',
      talk_duration: '67.54',
      call_id: 'a1',
      outcome: 'answered',
      account: 'north',
    },
    {
      calling_number: 'anonymous',
      dialed_number: '*72',
      start: '1772355600250',
      duration: '12.5',
      account: 'été 😀',
    },
    { calling_number: '+33199001001', start: '2026-03-01T09:00:00Z', duration: '0', outcome: 'no_answer' },
    'JSON_VALUE_NESTED at 18',
    'JSON_MALFORMED at 1',
    'JSON_MALFORMED at 46',
    'JSON_MALFORMED at 19',
  ]);
});
