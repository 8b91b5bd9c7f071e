import tap from 'tap';
import { lift, object, restrict } from '../../retention/subject-restrictions.ts';
import { loadSettings } from '../../settings-loader.ts';
import { Installation, untilEnded } from '../cdrhouse-program.ts';
import { tokenOf } from '../subject-program.ts';
import { testServers } from '../test-servers.ts';
import { CallsClient, serve, type ToldCall } from './calls-client.ts';

/** What the API shows while the calls of a number are restricted, or its holder objected to a purpose. */
const servers = testServers(import.meta.url);
const installation = new Installation(tap, servers, 0, {
  feeds: [{ name: 'pbx', topic: servers.databases[0], country: 'FR', time_zone: 'UTC' }],
  kafka: { topic_partitions: 1 },
  query: { default_country: 'FR' },
});
const settings = loadSettings(installation.environment);
const year = new Date().getUTCFullYear() - 1;
const MAY = Date.UTC(year, 4, 1);
const PERSON = '+33199000001';
const range = { from: `${year}-04-01`, to: `${year}-07-01`, time_zone: 'UTC' };

function asked() {
  return {
    person: { numbers: [PERSON], feeds: undefined, fromMs: MAY, toMs: undefined },
    reason: 'letter',
    askedMs: undefined,
    dryRun: false,
  };
}

await installation.run('migrate');
const at = (month: number): string => `${year}-0${month}-15T10:00:00`;
const file = installation.write(
  'calls.csv',
  [
    `0199000001,,0199000002,${at(5)},10,10,own,answered`,
    `0199000002,,0199000001,${at(5)},20,20,to person,answered,acc-0199000001`,
    `0199000003,0199000001,0199000002,${at(5)},30,30,shows person,answered`,
    `0199000001,,0199000002,${at(4)},40,40,of the holder before,answered`,
    `0199000002,,0199000004,${at(5)},50,50,others,answered`,
  ].join('\n'),
);
await installation.json('ship', '--feed', 'pbx', file);
await installation.json('ingest', '--until-idle');
const url = await serve(tap, installation);
const client = async (...roles: string[]): Promise<CallsClient> =>
  new CallsClient(url, await tokenOf(settings, ...roles));
const agent = await client('disputes', 'disputes:unmasked', 'disputes:prefix', 'billing');
const officer = await client('disputes', 'disputes:unmasked', 'billing', 'privacy');

interface Found {
  readonly shown: Set<string>;
  readonly withheld: number;
  readonly matched: string;
  readonly calls: readonly ToldCall[];
}

/** All pages. */
async function found(number: string, who = agent, more: Record<string, string> = {}): Promise<Found> {
  const calls: ToldCall[] = [];
  for (let cursor: string | null | undefined; cursor !== null;) {
    const page: Record<string, string> = cursor === undefined ? {} : { cursor };
    const { body } = await who.get('/v1/calls', { number, ...range, limit: '1', ...more, ...page });
    calls.push(...body.data);
    cursor = body.next_cursor;
    if (cursor === null) {
      const { withheld, matched } = body;
      const shown = new Set(calls.map(({ call_id: id }) => id));
      return { shown, withheld, matched: String(matched['calls']), calls };
    }
  }
  throw new Error('no page');
}

interface Records {
  readonly data: readonly ToldCall[];
  readonly withheld: number;
  readonly code?: string;
}
const records = async (who = agent, more: Record<string, string> = {}): Promise<Records> =>
  (await who.get<Records>('/v1/records', { ...range, ...more })).body;
const idsOf = ({ data }: Records): Set<string> => new Set(data.map(({ call_id: id }) => id));
const ALL = ['own', 'to person', 'shows person', 'of the holder before', 'others'];
const usage = async (): Promise<unknown> =>
  (await agent.get('/v1/usage', { ...range, group_by: 'month' })).body.data;

const before = await found(PERSON);
const usageBefore = await usage();
const idOf = (callId: string): string => before.calls.find(({ call_id: id }) => id === callId)!.id;

await tap.test('without a restriction all is shown', async (t) => {
  t.strictSame(before.shown, new Set(['own', 'to person', 'shows person', 'of the holder before']));
  t.equal(before.withheld, 0);
});

await tap.test('restricted: the calls of the person are hidden from the very next look-up', async (t) => {
  await restrict(settings, { ...asked(), keepPastTerm: false });
  t.match(await found(PERSON), { shown: new Set(['of the holder before']), withheld: 3, matched: '1' });
  t.strictSame((await found(PERSON)).shown.size, 1);
  const prefix = await found('+331990*');
  t.strictSame(prefix.shown, new Set(['of the holder before', 'others']), 'by a prefix');
  t.equal(prefix.withheld, 3);
  const other = await found('0199000002', agent, { other_number: '0199000001' });
  t.strictSame([other.shown, other.withheld], [new Set(['of the holder before']), 3], 'as the other side');
});

await tap.test('in calls of others the number is masked, for who sees all other numbers too', async (t) => {
  const { shown, withheld, calls } = await found('0199000002');
  t.strictSame(shown, new Set(['to person', 'of the holder before', 'others']));
  t.equal(withheld, 2);
  t.match(
    calls.find(({ call_id: id }) => id === 'to person'),
    { calling_number: '+33199000002', dialed_number: '+3319900****', account: 'acc-019900****' },
  );
  t.match(
    calls.find(({ call_id: id }) => id === 'of the holder before'),
    { calling_number: PERSON },
    'another holder',
  );
});

await tap.test('one call: the own one is refused, that of somebody else is masked', async (t) => {
  for (const id of ['own', 'shows person'])
    t.match(await agent.get(`/v1/calls/${idOf(id)}`), { status: 403, body: { code: 'CALL_WITHHELD' } }, id);
  const { body } = await agent.get<{ data: ToldCall }>(`/v1/calls/${idOf('to person')}`);
  t.match(body.data, { calling_number: '+33199000002', dialed_number: '+3319900****' });
  t.match(await agent.get(`/v1/calls/${idOf('of the holder before')}`), { status: 200 });
});

await tap.test('records hide and mask the same; what changed too; usage counts all', async (t) => {
  const told = await records();
  t.strictSame(idsOf(told), new Set(['to person', 'of the holder before', 'others']));
  t.equal(told.withheld, 2);
  t.match(
    told.data.find(({ call_id: id }) => id === 'to person'),
    { dialed_number: '+3319900****' },
  );
  t.match(await records(agent, { calling_number: PERSON }), {
    data: [{ call_id: 'of the holder before' }],
    withheld: 1,
  });
  const paged = await records(agent, { limit: '1' });
  t.equal(paged.withheld, 2);
  const csv = await fetch(
    `${url}/v1/records?${new URLSearchParams({ ...range, format: 'ndjson' }).toString()}`,
    {
      headers: {
        authorization: `Bearer ${await tokenOf(settings, 'billing')}`,
        'case-id': 'C',
        purpose: 'billing',
      },
    },
  );
  const text = await csv.text();
  t.notMatch(text, /"call_id":"own"/);
  t.match(text, /"withheld":2/);
  t.strictSame(await usage(), usageBefore);
});

await tap.test('the role privacy sees everything', async (t) => {
  const all = await found(PERSON, officer);
  t.strictSame([all.shown, all.withheld], [before.shown, 0]);
  t.strictSame(idsOf(await records(officer)), new Set(ALL));
  t.match(await officer.get(`/v1/calls/${idOf('own')}`), { status: 200 });
});

await tap.test('lifted: all is shown again', async (t) => {
  await lift(settings, { ...asked(), purposes: [] });
  t.strictSame((await found(PERSON)).shown, before.shown);
  t.strictSame(idsOf(await records()), new Set(ALL));
});

await tap.test('an objection: that purpose is refused, for that number and time alone', async (t) => {
  await object(settings, { ...asked(), kind: 'object', purposes: ['dispute'] });
  const refused = { status: 403, body: { code: 'PURPOSE_REFUSED' } };
  t.match(await agent.get('/v1/calls', { number: PERSON, ...range }), refused);
  t.match(await agent.post('/v1/calls/search', { number: '0199000001', ...range }), refused);
  t.match(await agent.get('/v1/calls', { number: '0199000002', other_number: PERSON, ...range }), refused);
  t.match(await agent.get('/v1/calls', { number: PERSON, ...range, format: 'csv' }), refused);
  t.match(await agent.get('/v1/records', { calling_number: PERSON, ...range }), refused);
  t.match(await agent.get(`/v1/calls/${idOf('own')}`), refused);
  t.match(await agent.get(`/v1/calls/${idOf('to person')}`), { status: 200 }, 'the call of somebody else');
  t.match(await agent.get('/v1/calls', { number: '0199000002', ...range }), { status: 200 });
  const earlier = { from: `${year}-04-01`, to: `${year}-05-01`, time_zone: 'UTC' };
  t.match(await agent.get('/v1/calls', { number: PERSON, ...earlier }), { status: 200 }, 'the holder before');
  const prefix = await found('+331990*');
  t.strictSame([prefix.shown, prefix.withheld], [new Set(['of the holder before', 'others']), 3]);
  const support = await fetch(
    `${url}/v1/calls?${new URLSearchParams({ number: PERSON, ...range }).toString()}`,
    {
      headers: {
        authorization: `Bearer ${await tokenOf(settings, 'disputes')}`,
        'case-id': 'C',
        purpose: 'support',
      },
    },
  );
  t.equal(support.status, 200, 'another purpose');
  t.match(await officer.get('/v1/calls', { number: PERSON, ...range }), { status: 200 });
  await untilEnded((query) => installation.rows(query), '{db}');
  const journal = await installation.rows<{ phase: string; complete: number }>(
    `SELECT phase, complete FROM {db}.lookup_journal WHERE request_id IN (
       SELECT request_id FROM {db}.lookup_journal WHERE phase = 'finished' AND complete = 0)`,
  );
  t.ok(journal.length >= 10, 'what was refused stands in the journal');
  await lift(settings, { ...asked(), purposes: ['dispute'] });
  t.match(await agent.get('/v1/calls', { number: PERSON, ...range }), { status: 200 });
});

await tap.test('consent that was withdrawn: that purpose is refused as well', async (t) => {
  await object(settings, { ...asked(), kind: 'withdraw', purposes: ['dispute'] });
  const refused = { status: 403, body: { code: 'PURPOSE_REFUSED' } };
  t.match(await agent.get('/v1/calls', { number: PERSON, ...range }), refused);
  t.match(await agent.get('/v1/records', { calling_number: PERSON, ...range }), refused);
  t.match(await agent.get(`/v1/calls/${idOf('own')}`), refused);
  t.match(await officer.get('/v1/calls', { number: PERSON, ...range }), { status: 200 });
  await lift(settings, { ...asked(), purposes: ['dispute'] });
  t.match(await agent.get('/v1/calls', { number: PERSON, ...range }), { status: 200 });
});
