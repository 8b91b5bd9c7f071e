import { select } from './clickhouse.ts';
import { letterSearch, redactorOf, type Redact } from './letter-search.ts';
import type { Subject } from './subject.ts';
import type { SubjectContext } from './subject-requests.ts';

const PAGE_ROWS_MAX = 500;

interface LetterRow {
  readonly feed: string;
  readonly topic: string;
  readonly topic_id: string;
  readonly partition: number;
  readonly offset: number;
  readonly line: number;
  readonly code: string;
  readonly field: string;
  readonly position: number;
  /** Base64. */
  readonly raw: string;
  /** As text, so that it is written as it was read. */
  readonly raw_hash: string;
  readonly message_at: string;
  readonly rejected_at: string;
}

const COLUMNS =
  'feed, topic, topic_id, partition, offset, line, code, field, position, raw, message_at, rejected_at';
const STRUCTURE =
  'feed String, topic String, topic_id String, partition Int32, offset Int64, line UInt32, code String, field String, position UInt32, raw String, message_at String, rejected_at String';

/**
 * Overwrites the numbers of a person in rejected records, in whatever spelling; what others said in them stays. The new
 * row is written first, under the same key and moment, and then the old one is deleted, which is known by the hash of its
 * content: again changes nothing.
 */
export class ErasedLetters {
  readonly #context: SubjectContext;
  readonly #subject: Subject;
  readonly #redact: Redact;

  constructor(context: SubjectContext, subject: Subject) {
    this.#context = context;
    this.#subject = subject;
    this.#redact = redactorOf(context.settings, subject);
  }

  /** How many rows hold a number of the person, those too that a newer rejection stands above. */
  async count(): Promise<number> {
    let rows = 0;
    for await (const page of this.#pages()) rows += page.length;
    return rows;
  }

  /** Writes the overwritten rows and names the old ones in `erasure_letters`; gives how many. */
  async redact(requestId: string): Promise<number> {
    const { client, database } = this.#context;
    let rows = 0;
    for await (const page of this.#pages()) {
      await client.insert({
        table: `${database}.erasure_letters`,
        values: page.map(({ old: { topic, topic_id, partition, offset, line, raw_hash } }) => ({
          request_id: requestId,
          topic,
          topic_id,
          partition,
          offset,
          line,
          raw_hash,
        })),
        format: 'JSONEachRow',
      });
      const lines = page.map(({ old, raw }) => JSON.stringify({ ...old, raw: raw.toString('base64') }));
      await client.command({
        query: `INSERT INTO ${database}.dead_letters (${COLUMNS})
          SELECT ${COLUMNS.replace('raw', 'base64Decode(raw)')} FROM input('${STRUCTURE}') FORMAT JSONEachRow\n${lines.join('\n')}`,
        clickhouse_settings: { deduplicate_insert: 'disable', input_format_skip_unknown_fields: 1 },
      });
      rows += page.length;
    }
    return rows;
  }

  /** Deletes what `redact` named. */
  deleteSql(requestId: string): string {
    const { database } = this.#context;
    return `ALTER TABLE ${database}.dead_letters DELETE WHERE (toString(topic), topic_id, partition, offset, line, sipHash64(raw)) IN
      (SELECT topic, topic_id, partition, offset, line, raw_hash FROM ${database}.erasure_letters WHERE request_id = '${requestId}')`;
  }

  async *#pages(): AsyncGenerator<{ readonly old: LetterRow; readonly raw: Buffer }[]> {
    const { client, database } = this.#context;
    const { inTime, mayHold, parameters } = letterSearch(this.#subject);
    if (mayHold === undefined) return;
    let after = { topic: '', topic_id: '', partition: -1, offset: -1, line: 0, raw_hash: '0' };
    for (;;) {
      const rows = await select<LetterRow>(
        client,
        `SELECT ${COLUMNS.replace('raw', 'base64Encode(raw) AS raw')}, toString(sipHash64(letters.raw)) AS raw_hash
        FROM ${database}.dead_letters AS letters
        WHERE ${inTime} AND ${mayHold}
          AND (topic, topic_id, partition, offset, line, sipHash64(letters.raw)) >
            ({topic: String}, {topic_id: String}, {partition: Int32}, {offset: Int64}, {line: UInt32}, {raw_hash: UInt64})
        ORDER BY topic, topic_id, partition, offset, line, sipHash64(letters.raw) LIMIT ${PAGE_ROWS_MAX}`,
        { ...parameters, ...after },
      );
      const page = rows.flatMap((old) => {
        const raw = Buffer.from(old.raw, 'base64');
        return this.#redact(old, raw) === 0 ? [] : [{ old, raw }];
      });
      if (page.length > 0) yield page;
      const last = rows.at(-1);
      if (last === undefined || rows.length < PAGE_ROWS_MAX) return;
      const { topic, topic_id, partition, offset, line, raw_hash } = last;
      after = { topic, topic_id, partition, offset, line, raw_hash };
    }
  }
}
