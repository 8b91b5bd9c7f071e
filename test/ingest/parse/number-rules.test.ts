import tap from 'tap';
import { packedBatch } from '../../../bench/packed-batches.ts';
import { BatchParser } from '../../../ingest/parse/parse-batch.ts';
import { readFeed, type Feed } from '../../../schemas/feed.ts';
import { checkSettings } from '../../../schemas/settings.ts';

function feedOf(feed: object): Feed {
  return readFeed(checkSettings({ feeds: [{ name: 'f', ...feed }] }).feeds[0]!);
}

/** The three numbers of a call as `cdr` holds them: calling, displayed, dialed. */
function stored(feed: object, numbers: readonly [string, string, string]): string[] {
  const parser = new BatchParser({
    feeds: [feedOf(feed)],
    identityKey: new Uint8Array(32),
    futureMsMax: 86_400_000,
    retentionMonths: { all: 1200, feeds: {} },
    recordsMax: 10,
  });
  const { calls } = parser.parse(packedBatch([Buffer.from(`${numbers.join(',')},2026-03-01T10:00:00Z,60`)]));
  if (calls !== 1) throw new Error('the record is no good');
  const block = parser.wholeBlock('cdr').toString('latin1');
  return ['calling_number', 'displayed_caller_id', 'dialed_number'].map((column) => {
    const header = `${column}\x06String`;
    const at = block.indexOf(header) + header.length;
    return block.slice(at + 1, at + 1 + block.charCodeAt(at));
  });
}

await tap.test('each role is read by its own rules', async (t) => {
  const numbers = {
    strip: ['*31*'],
    calling: { bare: 'national' },
    displayed: { keep: true },
    dialed: { strip: ['9'] },
  };
  t.strictSame(stored({ country: 'FR', numbers }, ['199000001', '0199000002', '90199000003']), [
    '+33199000001',
    '0199000002',
    '+33199000003',
  ]);
  t.strictSame(stored({ country: 'FR' }, ['199000001', '0199000002', '90199000003']), [
    '199000001',
    '+33199000002',
    '90199000003',
  ]);
});

await tap.test('without a country and rules numbers stay as sent', async (t) => {
  t.strictSame(stored({}, ['199000001', 'anonymous', '0033199000003']), [
    '199000001',
    'anonymous',
    '0033199000003',
  ]);
});

await tap.test('number rules are part of how a feed is read', async (t) => {
  const readings = [
    {},
    { country: 'FR' },
    { country: 'DE' },
    { country: 'FR', numbers: { strip: ['9'] } },
    { country: 'FR', numbers: { bare: 'national' } },
    { country: 'FR', numbers: { dialed: { strip: ['9'] } } },
  ].map((feed) => feedOf(feed).reading);
  t.equal(new Set(readings).size, readings.length);
  const same = [
    { country: 'FR', numbers: { strip: ['9', '99'] } },
    { country: 'FR', numbers: { strip: ['99', '9'] } },
  ];
  t.equal(
    new Set(same.map((feed) => feedOf(feed).reading)).size,
    1,
    'the order in which prefixes are listed means nothing',
  );
  t.equal(feedOf({ numbers: { keep: true } }).reading, feedOf({}).reading);
});
