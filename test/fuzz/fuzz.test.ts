import tap from 'tap';
import { readFeed, type Feed } from '../../schemas/feed.ts';
import { FORMATS } from '../../schemas/formats/index.ts';
import { checkSettings } from '../../schemas/settings.ts';
import { Checker, emptyTally, parserOf } from './check.ts';
import { fuzz, shrink } from './fuzz.ts';

/** A short run of `make fuzz` with a fixed seed. */
const CASES = 800;

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
