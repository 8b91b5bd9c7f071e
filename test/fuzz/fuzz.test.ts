import tap from 'tap';
import { readFeed, type Feed } from '../../schemas/feed.ts';
import { FORMATS } from '../../schemas/formats/index.ts';
import { checkSettings } from '../../schemas/settings.ts';
import { Checker, emptyTally, parserOf } from './check.ts';
import { differenceFrom } from './expected.ts';
import { fuzz, shrink } from './fuzz.ts';
import { batchOf, outcomeOf, type StoredOutcome } from './outcomes.ts';
import { NOW_MS } from './stored.ts';

/** A short run of `make fuzz` with a fixed seed. */
const CASES = 600;

await tap.test('generated and broken lines of every format are read alike in every way', async (t) => {
  const tally = emptyTally();
  const finding = await fuzz(1, 0, (index) => index < CASES, tally);
  const messages = finding?.messages.map((message) => message.toString('latin1'));
  t.equal(finding?.what, undefined, JSON.stringify({ ...finding, messages }));
  // Else it would show nothing.
  for (const { name } of FORMATS) {
    t.ok((tally.stored[name] ?? 0) > 10, `${name}: some are stored`);
    t.ok((tally.rejected[name] ?? 0) > 10, `${name}: some are rejected`);
  }
  t.ok(tally.compared > 1000, 'many are compared with the references');
});

/** A feed of canonical-csv whose times are in this zone. */
function feedIn(zone: string): Feed {
  return readFeed(
    checkSettings({ feeds: [{ name: 'f', format: 'canonical-csv', time_zone: zone }] }).feeds[0]!,
  );
}

await tap.test(
  'a parser that reads otherwise is found, with the line that shows it and not much more',
  async (t) => {
    const message = Buffer.from(
      'x\n1,2,3,2026-03-01T10:00:00Z,1\n1,2,3,2026-03-01 10:00:00,60,,"a ""b""",,\n',
    );
    const { messages, what } = await shrink([message, message], async (shorter) => {
      const checker = new Checker([feedIn('UTC')], emptyTally(), parserOf([feedIn('Europe/Paris')]));
      return checker.check({ feed: 0, messages: shorter });
    });
    t.match(what, /^line 0:1 among others: /);
    t.equal(messages.length, 1);
    t.match(messages[0]!.toString(), /^,*2026-03-01 10:00(:00)?,\d$/);
  },
);

await tap.test('every value that is stored is compared', async (t) => {
  const feed = feedIn('Europe/Paris');
  const line = Buffer.from('+33199000001,1001,*72,2026-03-01 10:00:00.25,60.25,30,id,answered,north');
  const parser = parserOf([feed]);
  const batch = batchOf([{ feed: 0, bytes: line }], NOW_MS, Buffer.alloc(0));
  const outcome = outcomeOf(parser, batch).records.get('0:1') as StoredOutcome;
  const { sent } = parser.lastLine();
  t.equal(await differenceFrom(feed, undefined, line, outcome, sent), undefined);
  for (const [name, other] of Object.entries({
    calling_number: '+33199000002',
    displayed_caller_id: '',
    dialed_number: '72',
    account: 'south',
    call_id: '',
    outcome: 'busy',
    direction: 'inbound',
    recordKey: '1',
    startMs: outcome.startMs + 3_600_000,
    durationMs: 60_000,
    talkMs: null,
  }))
    t.match(
      await differenceFrom(feed, undefined, line, { ...outcome, [name]: other }, sent),
      / instead of /,
      name,
    );
  for (const [code, field] of [
    ['START_UNREADABLE', 'start'],
    ['START_IN_FUTURE', 'start'],
    ['DURATION_UNREADABLE', 'duration'],
    ['DURATION_OUT_OF_RANGE', 'talk_duration'],
  ] as const) {
    const refused = { kind: 'rejected', code, field, position: 0, raw: '' } as const;
    t.ok(await differenceFrom(feed, undefined, line, refused, sent), `${code} of ${field}`);
  }
});
