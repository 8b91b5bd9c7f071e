import type { CallStore } from './call-store.ts';
import type { Place } from './competitor.ts';
import type { Check } from './result.ts';
import type { WorkloadFacts } from './workload.ts';

/** What every store has of a call, as texts and numbers that are equal where the calls are. */
const COMMON = `call_id, calling_number, displayed_caller_id, dialed_number, start_at, duration_ms,
  ifNull(talk_ms, 4294967295), toString(outcome), toString(account)`;

/** What is summed over the rows of a table, by store: hashes of what does not depend on the place in Kafka or the time. */
const CONTENTS: Readonly<Record<CallStore['name'], Readonly<Record<string, readonly string[]>>>> = {
  'both tables': {
    cdr: [COMMON, `calling_key, cdr_key, ${COMMON}, direction, feed`],
    cdr_by_number: [`number_key, toString(role), cdr_key, ${COMMON}, direction, feed`],
  },
  'one table': { cdr: [COMMON] },
};

interface TableState {
  readonly calls: number;
  readonly ids: number;
  readonly contents: readonly string[];
}

/**
 * Compares what competitors have stored of the same records. In each case all that fill both tables must agree on every column,
 * keys too: else one of them does other work than the others, and nothing that was measured can be compared.
 */
export class EndStates {
  readonly #contents = new Map<string, string>();

  /**
   * Whether every call is there once, and the same as elsewhere. Throws where tables that ought to be equal are not.
   * @param input contents are compared within a topic
   */
  async check(
    input: { readonly name: string; readonly topic: string },
    who: string,
    store: CallStore,
    place: Pick<Place, 'bench' | 'database'>,
    wanted: WorkloadFacts['rows'],
  ): Promise<Check> {
    const found = { lost: 0, twice: 0, differs: [] as string[] };
    for (const [name, contents] of Object.entries(CONTENTS[store.name])) {
      const table = store.tables.includes(name) ? name : store.tables[0]!;
      const [state] = await place.bench.database.rows<TableState>(
        `SELECT count() AS calls, uniqExact(call_id) AS ids,
           [${contents.map((columns) => `toString(sum(cityHash64(${columns})))`).join(', ')}] AS contents
         FROM ${place.database}.${table} ${store.final}`,
      );
      const { calls, ids } = state!;
      const rows = name === 'cdr_by_number' ? wanted.cdrByNumber : wanted.cdr;
      found.lost = Math.max(found.lost, wanted.cdr - ids);
      found.twice = Math.max(found.twice, calls - rows);
      contents.forEach((columns, index) => {
        const content = state!.contents[index]!;
        const key = `${input.topic}: ${columns}`;
        const first = this.#contents.get(key) ?? content;
        this.#contents.set(key, first);
        if (content !== first) found.differs.push(table);
      });
    }
    if (found.differs.length > 0 && found.lost + found.twice === 0 && store.name === 'both tables') {
      throw new Error(
        `${input.name}: what ${who} stored in ${found.differs.join(', ')} is not what others did`,
      );
    }
    return {
      what: `${input.name}: every call once, as all others have it`,
      who,
      passed: found.lost + found.twice + found.differs.length === 0,
      detail: `lost ${found.lost}, twice ${found.twice}, content ${found.differs.length === 0 ? 'the same' : 'differs'}`,
    };
  }
}
