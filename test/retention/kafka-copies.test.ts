import tap from 'tap';
import { kafkaResidue, type KeptTopic } from '../../retention/kafka-copies.ts';
import { CdrhouseError } from '../../schemas/errors.ts';
import { checkSettings } from '../../schemas/settings.ts';

const DAY_MS = 86_400_000;
const settings = checkSettings({
  feeds: [
    { name: 'a', topic: 'a' },
    { name: 'b', topic: 'b' },
  ],
});
const SINCE = Date.parse('2026-11-01T00:00:00Z');
const kept = (topic: string, retentionDays: number, segmentDays: number): KeptTopic => ({
  topic,
  retentionMs: retentionDays * DAY_MS,
  segmentMs: segmentDays * DAY_MS,
});
const away = async (): Promise<never> => {
  throw new CdrhouseError('KAFKA_UNREACHABLE', 'down');
};
const unknown = (why: RegExp) => ({ kafka_until: null, kafka_unknown: why });
const residue = (...topics: KeptTopic[]) => kafkaResidue(settings, SINCE, async () => topics);

await tap.test('Kafka holds what it had until the longest kept segment is over', async (t) => {
  t.strictSame(await residue(kept('a', 14, 1), kept('b', 10, 7)), {
    kafka_until: '2026-11-18T00:00:00.000Z',
  });
});

await tap.test('where nobody can say until when, it is said why', async (t) => {
  t.match(await residue(kept('a', 14, 7)), unknown(/no topic b/));
  t.match(await residue(kept('a', 14, 7), { ...kept('b', 1, 1), retentionMs: -1 }), unknown(/b .*for ever/));
  t.match(await residue(kept('a', 14, 7), kept('b', 1e9, 7)), unknown(/longer than any date/));
  t.match(await kafkaResidue(settings, SINCE, away), unknown(/KAFKA_UNREACHABLE/));
});
