import { lastCalendarYear, Traffic } from '../ingest/generate/traffic.ts';
import { LinePacker } from '../ingest/ship/line-packer.ts';
import { Producer } from '../ingest/ship/producer.ts';
import { checkSettings, type Settings } from '../schemas/settings.ts';

const CHUNK_LINES = 1000;
const DAY_MS = 86_400_000;
const SEED = 1;

/** `packed`: many records a message, as `cdrhouse ship` sends them. `single`: one record a message. */
export type Packing = 'packed' | 'single';
export const PACKINGS: readonly Packing[] = ['packed', 'single'];

/**
 * Synthetic canonical-csv records in the order in which calls end: number keys are in no order. A batch of live
 * traffic falls into one partition of the tables or two, one of an archive into many (`days` 365).
 */
export class Workload {
  readonly records: number;
  readonly bytes: number;
  readonly #chunks: Buffer[] = [];

  /** @param from UTC ms of the first day; default: that of the last calendar year, so that one month is one month */
  constructor(records: number, days: number, from = lastCalendarYear(Date.now()).from) {
    const traffic = new Traffic(SEED, records, { from, to: from + days * DAY_MS });
    for (let first = 0; first < records; first += CHUNK_LINES) {
      const length = Math.min(CHUNK_LINES, records - first);
      const lines = Array.from({ length }, (_, index) => traffic.line(first + index));
      this.#chunks.push(Buffer.from(`${lines.join('\n')}\n`));
    }
    this.records = records;
    this.bytes = this.#chunks.reduce((sum, chunk) => sum + chunk.length, 0);
  }

  /** The messages of a topic. */
  *messages(packing: Packing): Generator<Buffer> {
    if (packing === 'packed') yield* this.#packed();
    else yield* this.#single();
  }

  *#packed(): Generator<Buffer> {
    const packer = new LinePacker(checkSettings({}).ship.message_bytes_max);
    for (const chunk of this.#chunks) yield* packer.add(chunk);
    yield* packer.finish();
  }

  *#single(): Generator<Buffer> {
    for (const chunk of this.#chunks) {
      for (let from = 0; from < chunk.length;) {
        const end = chunk.indexOf(0x0a, from);
        yield chunk.subarray(from, end);
        from = end + 1;
      }
    }
  }
}

/** Settings with which the bench itself speaks to Kafka. */
export function kafkaSettings(brokers: string, group: string, topic: string): Settings {
  return checkSettings({ feeds: [{ name: 'default', topic }], kafka: { brokers, group } });
}

/** Sends the workload to a topic; gives the number of messages. */
export async function sendWorkload(
  workload: Workload,
  packing: Packing,
  brokers: string,
  topic: string,
): Promise<number> {
  const producer = await Producer.connect(kafkaSettings(brokers, 'bench', topic));
  try {
    for (const message of workload.messages(packing)) await producer.send(topic, message);
    await producer.flush();
    return producer.messages;
  } finally {
    await producer.close();
  }
}
