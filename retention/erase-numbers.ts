import { CdrhouseError } from '../schemas/errors.ts';
import { NumberKeys } from '../schemas/number-keys.ts';
import { blankedNumber } from '../schemas/suppressions.ts';
import { select } from './clickhouse.ts';
import { knownFeeds } from './known-feeds.ts';
import { numbersByFeed, type Subject } from './subject.ts';
import type { SubjectContext } from './subject-requests.ts';

/**
 * The numbers of an erasure while it is at work, where the statements of EraseSql find them: under the id of a request or of
 * a look, in the memory of the server alone.
 */
export class ErasedNumbers {
  readonly #context: SubjectContext;
  readonly #subject: Subject;

  constructor(context: SubjectContext, subject: Subject) {
    this.#context = context;
    this.#subject = subject;
  }

  async fill(requestId: string): Promise<void> {
    const { client, database, settings, stored } = this.#context;
    await this.clear(requestId);
    const keys = new NumberKeys(stored.identityKey);
    const asked = numbersByFeed(this.#subject);
    // Of the whole ledger only where somebody is meant in all feeds.
    const known = asked.some(({ feed }) => feed === '') ? await knownFeeds(client, settings) : [];
    const values = asked.flatMap(({ number, feed: own }) =>
      (own === '' ? known : [own]).map((feed) => {
        const blanked = blankedNumber(number);
        return {
          request_id: requestId,
          feed,
          number,
          number_key: keys.keyOf(feed, number),
          blanked,
          blanked_key: keys.keyOf(feed, blanked),
        };
      }),
    );
    await client.insert({ table: `${database}.erasure_numbers`, values, format: 'JSONEachRow' });
  }

  /** Throws ERASURE_WAITS where the numbers are gone, so that nothing can be found: the server was restarted. */
  async require(id: string): Promise<void> {
    const { client, database } = this.#context;
    const [row] = await select<{ numbers: number }>(
      client,
      `SELECT count() AS numbers FROM ${database}.erasure_numbers WHERE request_id = {id: String}`,
      { id },
    );
    if (row!.numbers === 0) throw new CdrhouseError('ERASURE_WAITS', 'the database was restarted meanwhile');
  }

  async clear(requestId: string): Promise<void> {
    const { client, database } = this.#context;
    for (const table of ['erasure_numbers', 'erasure_letters'])
      await client.command({
        query: `ALTER TABLE ${database}.${table} DELETE WHERE request_id = '${requestId}'`,
        clickhouse_settings: { mutations_sync: '1' },
      });
  }
}
