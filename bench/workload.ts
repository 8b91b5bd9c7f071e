import { Random } from '../ingest/generate/random.ts';
import { lastCalendarYear, Traffic } from '../ingest/generate/traffic.ts';
import { LinePacker } from '../ingest/ship/line-packer.ts';
import { Producer } from '../ingest/ship/producer.ts';
import { checkSettings, type Settings } from '../schemas/settings.ts';
import { asteriskLine } from './asterisk-line.ts';

const CHUNK_LINES = 1000;
const DAY_MS = 86_400_000;
const SEED = 1;

/** `packed`: many records a message, as `cdrhouse ship` sends them. `single`: one record a message. */
export type Packing = 'packed' | 'single';
export const PACKINGS: readonly Packing[] = ['packed', 'single'];

/** How the lines of a call are made of those of canonical-csv, by format. */
const LINES = {
  'canonical-csv': (line: string): string => line,
  'asterisk-csv': asteriskLine,
} as const;
export type LineFormat = keyof typeof LINES;

export interface WorkloadOptions {
  /** UTC ms of the first day. @default that of the last calendar year, so that one month is one month */
  readonly from?: number;
  /** @default 'canonical-csv' */
  readonly format?: LineFormat;
  /** Share of the records that are the same bytes as one before, anywhere before. @default 0 */
  readonly duplicates?: number;
}

/** What the records of a workload are. */
export interface WorkloadFacts {
  readonly records: number;
  readonly bytes: number;
  /** Different calls among the records, and the rows that `cdr_by_number` has of them. */
  readonly rows: { readonly cdr: number; readonly cdrByNumber: number };
  /** Share of records whose calling number, and whose start, is less than that of the record before; sorted input has 0. */
  readonly order: { readonly callingNumberFalls: number; readonly startFalls: number };
}

/**
 * Synthetic records in the order in which calls end: number keys are in no order, and starts in none within the length
 * of a call (`order`). A batch of live traffic falls into one partition of the tables or two, one of an archive into many
 * (`days` 365).
 */
export class Workload implements WorkloadFacts {
  readonly records: number;
  readonly bytes: number;
  readonly rows: WorkloadFacts['rows'];
  readonly order: WorkloadFacts['order'];
  readonly #chunks: Buffer[] = [];

  constructor(records: number, days: number, options: WorkloadOptions = {}) {
    const { format = 'canonical-csv', duplicates = 0 } = options;
    const { from = lastCalendarYear(Date.now()).from } = options;
    const traffic = new Traffic(SEED, records, { from, to: from + days * DAY_MS });
    const random = new Random(SEED, records);
    const rows = { cdr: 0, cdrByNumber: 0 };
    const falls = { callingNumber: 0, start: 0 };
    let before = ['', '', '', ''];
    const nextLine = (): string => {
      const again = rows.cdr > 0 && random.chance(duplicates);
      const line = traffic.line(again ? random.integer(rows.cdr) : rows.cdr);
      const fields = line.split(',', 4);
      if (!again) {
        rows.cdr++;
        rows.cdrByNumber += fields[1] === '' || fields[1] === fields[0] ? 1 : 2;
      }
      if (fields[0]! < before[0]!) falls.callingNumber++;
      if (fields[3]! < before[3]!) falls.start++;
      before = fields;
      return LINES[format](line);
    };
    for (let first = 0; first < records; first += CHUNK_LINES) {
      const lines = Array.from({ length: Math.min(CHUNK_LINES, records - first) }, nextLine);
      this.#chunks.push(Buffer.from(`${lines.join('\n')}\n`));
    }
    this.records = records;
    this.bytes = this.#chunks.reduce((sum, chunk) => sum + chunk.length, 0);
    this.rows = rows;
    this.order = {
      callingNumberFalls: falls.callingNumber / records,
      startFalls: falls.start / records,
    };
  }

  /** Without the records themselves. */
  facts(): WorkloadFacts {
    const { records, bytes, rows, order } = this;
    return { records, bytes, rows, order };
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

/** Sends messages to a topic; gives their number. */
export async function sendMessages(
  messages: Iterable<Buffer>,
  brokers: string,
  topic: string,
): Promise<number> {
  const producer = await Producer.connect(kafkaSettings(brokers, 'bench', topic));
  try {
    for (const message of messages) await producer.send(topic, message);
    await producer.flush();
    return producer.messages;
  } finally {
    await producer.close();
  }
}

/** Sends the workload to a topic; gives the number of messages. */
export async function sendWorkload(
  workload: Workload,
  packing: Packing,
  brokers: string,
  topic: string,
): Promise<number> {
  return sendMessages(workload.messages(packing), brokers, topic);
}
