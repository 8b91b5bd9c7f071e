import { packMessages, parseContextOf, type PackedBatch, type ParseContext } from '../ingest/parse/batch.ts';
import { readFeed } from '../schemas/feed.ts';
import { checkSettings } from '../schemas/settings.ts';
import { termsOf } from '../schemas/stored-settings.ts';
import type { Workload } from './workload.ts';

/** The secret of stored keys in all databases of a bench. */
export const IDENTITY_KEY = Buffer.alloc(32);

/** The messages of the packed topic in batches as ingest makes them with one worker: so many bytes each. */
export function* packedBatches(workload: Workload): Generator<PackedBatch> {
  const { batch_bytes_max, batch_messages_max } = checkSettings({}).ingest;
  let messages: Buffer[] = [];
  let bytes = 0;
  for (const message of workload.messages('packed')) {
    messages.push(message);
    bytes += message.length;
    if (bytes < batch_bytes_max && messages.length < batch_messages_max) continue;
    yield packedBatch(messages);
    messages = [];
    bytes = 0;
  }
  if (messages.length > 0) yield packedBatch(messages);
}

export function packedBatch(messages: readonly Buffer[]): PackedBatch {
  return packMessages({ feed: 0, topic: 'cdr', topicId: '', partition: 0 }, messages, Date.now());
}

/**
 * What parsing depends on, with the default settings.
 * @param feed settings of the feed, beside its name
 */
export function parseContext(feed: object = {}): ParseContext {
  const settings = checkSettings({ feeds: [{ name: 'default', topic: 'cdr', ...feed }] });
  const stored = { identityKey: IDENTITY_KEY, retentionMonths: termsOf(settings) };
  return parseContextOf(settings, settings.feeds.map(readFeed), stored);
}

/** Number of rows that a block in Native format names in its head: the second variable-length integer. */
export function rowsOf(block: Uint8Array): number {
  let at = 0;
  const next = (): number => {
    let value = 0;
    for (let factor = 1; ; factor *= 128) {
      const byte = block[at++]!;
      value += (byte & 127) * factor;
      if (byte < 128) return value;
    }
  };
  next();
  return next();
}
