import tap from 'tap';
import { claimRow, ledgerRow } from '../../ingest/ledger-row.ts';
import { emptyCounts } from '../../ingest/parse/batch.ts';
import { readFeed } from '../../schemas/feed.ts';
import { checkSettings } from '../../schemas/settings.ts';

const feed = readFeed(checkSettings({ feeds: [{ name: 'a' }] }).feeds[0]!);
const partition = {
  source: { feed: 0, topic: 'cdr.a', topicId: 'id', partition: 0 },
  clusterId: 'cluster',
  generation: 5,
  position: 10,
  stored: 10,
  end: 30,
};
const written = { instance: 'test', nowMs: 1_700_000_000_000, suppressionsVersion: 0 };

await tap.test(
  'the first range has the key of its claim, so it must say all that the claim says',
  async (t) => {
    const corrected = { ...partition, correction: { number: 1_700_000_000, until: 30 } };
    const claim = claimRow(corrected, feed, written);
    const first = ledgerRow(corrected, feed, { from: 10, next: 20 }, emptyCounts(), written);
    for (const row of [claim, first]) {
      t.match(row, { topic: 'cdr.a', partition: 0, cluster_id: 'cluster', topic_id: 'id', generation: 5 });
      t.match(row, { from_offset: 10, correction: 1_700_000_000, corrected_until: 30 });
    }
    t.match([claim.next_offset, first.next_offset], [10, 20]);
  },
);

await tap.test('without a correction there is none', async (t) => {
  t.match(claimRow(partition, feed, written), { correction: 0, corrected_until: 0, next_offset: 10 });
});
