import type { CallRole } from '../schemas/api.ts';
import {
  callsOfManySql,
  callsSql,
  COLUMN_OF_ROLE,
  type CallOfManyRow,
  type CallRow,
  type CallsFilter,
  type CallsPage,
} from './calls-sql.ts';
import { DatabaseError, type QueryDatabase } from './clickhouse.ts';
import type { Range } from './cursor.ts';
import type { NumberList } from '../schemas/number-keys.ts';
import { reachesTerm } from './term-sql.ts';

/** Searches in one statement at most, and keys: what is read of a key that no call has is some thousand rows of each part. */
const TOGETHER_MAX = 32;
const KEYS_MAX = 48;
/** Longer pages are asked for alone. */
const PAGE_ROWS_MAX = 501;
/** The longest time that they may have together: it is read for all keys. */
const SPAN_MS_MAX = 93 * 86_400_000;
/** One statement is waited for so long; a slow one holds up nobody for longer. */
const WAIT_MS = 20;

interface Waiting {
  readonly filter: CallsFilter;
  readonly rows: number;
  /** What it has in common with those that can share a statement with it. */
  readonly shape: string;
  readonly gone: AbortSignal;
  readonly found: (rows: CallRow[]) => void;
  readonly failed: (error: unknown) => void;
}

/**
 * Finds pages of calls. For a look-up of a number the database plans for longer than it reads; so one statement runs at a
 * time, and the look-ups that come meanwhile share the next one, where they ask alike (decision 0025). Who asks alone waits for
 * nobody.
 */
export class CallsTogether {
  readonly #database: Pick<QueryDatabase, 'database' | 'calls' | 'callsOfMany'>;
  #waiting: Waiting[] = [];
  #running = 0;

  constructor(database: Pick<QueryDatabase, 'database' | 'calls' | 'callsOfMany'>) {
    this.#database = database;
  }

  /** The rows of `callsSql`. Aborting the signal ends the query in the server too, where nobody else waits for it. */
  find(
    filter: CallsFilter,
    page: CallsPage & { readonly rows: number },
    gone: AbortSignal,
  ): Promise<CallRow[]> {
    if (page.after !== undefined || page.rows > PAGE_ROWS_MAX || !canShare(filter))
      return this.#alone(filter, page, gone);
    return new Promise((found, failed) => {
      const { rows } = page;
      const waiting = { filter, rows, shape: shapeOf(filter, rows), gone, found, failed };
      this.#waiting.push(waiting);
      // Who comes in the same turn of the event loop goes along.
      if (this.#running === 0) setImmediate(() => this.#running === 0 && this.#next());
      setTimeout(() => this.#waiting.includes(waiting) && this.#next(), WAIT_MS).unref();
    });
  }

  #alone(filter: CallsFilter, page: CallsPage, gone: AbortSignal): Promise<CallRow[]> {
    const statement = callsSql(this.#database.database, filter, page);
    return this.#database.calls(statement, filter.number.kind === 'exact', gone);
  }

  /** Asks for the first that waits, and all that can share its statement. */
  #next(): void {
    const [first] = this.#waiting;
    if (first === undefined) return;
    const group = groupOf(first, this.#waiting);
    this.#waiting = this.#waiting.filter((waiting) => !group.includes(waiting));
    this.#running++;
    void this.#ask(group).finally(() => {
      this.#running--;
      if (this.#running === 0) this.#next();
    });
  }

  /** Never rejects: each waiting search is told for itself. */
  async #ask(group: readonly Waiting[]): Promise<void> {
    const here = group.filter(({ gone }) => !gone.aborted);
    const shared = here.length > 1 ? here : [];
    // Who is gone is told so.
    const apart = group.filter((each) => !shared.includes(each));
    await Promise.all([...apart.map(async (each) => this.#askOne(each)), this.#askMany(shared)]);
  }

  async #askOne({ filter, rows, gone, found, failed }: Waiting): Promise<void> {
    await this.#alone(filter, { after: undefined, rows }, gone).then(found, failed);
  }

  async #askMany(shared: readonly Waiting[]): Promise<void> {
    if (shared.length === 0) return;
    try {
      const pages = await this.#pagesOf(shared);
      await Promise.all(
        shared.map(async (each, index) => {
          const page = pages[index];
          if (page === undefined) await this.#askOne(each);
          else each.found(page);
        }),
      );
    } catch (error) {
      // One of them may read too much for the others: alone it reads no more than its page.
      if (error instanceof DatabaseError && error.fault === 'limit')
        await Promise.all(shared.map(async (each) => this.#askOne(each)));
      else for (const { failed } of shared) failed(error);
    }
  }

  /** A page for each; undefined where it is not certain. */
  async #pagesOf(group: readonly Waiting[]): Promise<(CallRow[] | undefined)[]> {
    const { filter, rows } = group[0]!;
    const searches = group.map(({ filter: { number, range } }) => ({ ...exact(number), range }));
    // A number can be asked for twice in one range.
    const rangeOfKey = new Map(
      searches.flatMap(({ keys, range }) => keys.map((key) => [key, range] as const)),
    );
    const together: CallsFilter = {
      ...filter,
      number: { kind: 'exact', keys: [...rangeOfKey.keys()], texts: searches.flatMap(({ texts }) => texts) },
      range: {
        fromMs: Math.min(...searches.map(({ range }) => range.fromMs)),
        toMs: Math.max(...searches.map(({ range }) => range.toMs)),
      },
    };
    const statement = callsOfManySql(this.#database.database, together, rangeOfKey, rows);
    const found = await this.#database.callsOfMany(statement, allGone(group.map(({ gone }) => gone)));
    const byKey = new Map([...rangeOfKey.keys()].map((key) => [key, [] as CallOfManyRow[]]));
    for (const row of found) byKey.get(Number(row.number_key))!.push(row);
    return searches.map(({ keys, texts }) => {
      const ofKeys = keys.flatMap((key) => byKey.get(key)!);
      return pageOf(ofKeys, texts, filter.roles, rows);
    });
  }
}

/** Aborts when all of them have. */
function allGone(signals: readonly AbortSignal[]): AbortSignal {
  const all = new AbortController();
  const check = (): void => {
    if (signals.every(({ aborted }) => aborted)) all.abort();
  };
  for (const signal of signals) signal.addEventListener('abort', check, { once: true });
  check();
  return all.signal;
}

/** Searches of whole numbers in some weeks, whose calls need no more than their own columns to be judged. */
function canShare({ number, otherNumbers, range, term, visibility, withHeld }: CallsFilter): boolean {
  return (
    number.kind === 'exact' &&
    number.keys.length <= KEYS_MAX &&
    otherNumbers === undefined &&
    range.toMs - range.fromMs <= SPAN_MS_MAX &&
    !reachesTerm(range, term) &&
    visibility === undefined &&
    !withHeld
  );
}

/** Those of the searches that one statement can answer with the first: alike but for the number, and for a range near by. */
function groupOf(first: Waiting, waiting: readonly Waiting[]): Waiting[] {
  const group: Waiting[] = [];
  const rangeOfKey = new Map<number, Range>();
  let whole = first.filter.range;
  for (const search of waiting) {
    const { number, range } = search.filter;
    const { keys } = exact(number);
    const wider = {
      fromMs: Math.min(whole.fromMs, range.fromMs),
      toMs: Math.max(whole.toMs, range.toMs),
    };
    const isOther = (key: number): boolean => {
      const known = rangeOfKey.get(key);
      return known !== undefined && (known.fromMs !== range.fromMs || known.toMs !== range.toMs);
    };
    const isFull = group.length > 0 && rangeOfKey.size + keys.length > KEYS_MAX;
    if (
      isFull ||
      search.shape !== first.shape ||
      wider.toMs - wider.fromMs > SPAN_MS_MAX ||
      keys.some(isOther)
    )
      continue;
    whole = wider;
    for (const key of keys) rangeOfKey.set(key, range);
    if (group.push(search) === TOGETHER_MAX) break;
  }
  return group;
}

/** What searches in one statement have in common. */
function shapeOf(
  { number: _number, range: _range, term: _term, ...same }: CallsFilter,
  rows: number,
): string {
  return JSON.stringify([same, rows]);
}

function exact(number: CallsFilter['number']): NumberList {
  if (number.kind === 'exact') return number;
  throw new Error('no whole number');
}

/** The page among what was found under the keys of its texts; undefined where another text, of the same hash, took a place. */
function pageOf(
  found: readonly CallOfManyRow[],
  texts: readonly string[],
  roles: readonly CallRole[],
  rows: number,
): CallRow[] | undefined {
  if (!found.every((row) => roles.some((role) => texts.includes(row[COLUMN_OF_ROLE[role]]))))
    return undefined;
  // A call that is found by its calling number comes from `cdr`, as in `callsSql`.
  const isOfCalling = (row: CallRow): boolean =>
    texts.includes(row.calling_number) &&
    (roles.includes('calling') ||
      (roles.includes('displayed') && row.displayed_caller_id === row.calling_number));
  const once = new Map(
    found
      .filter((row) => row.of_calling === 1 || !isOfCalling(row))
      .map((row) => [`${row.start_ms} ${row.cdr_key} ${row.calling_number}`, row] as const),
  );
  return [...once.values()].sort(newestFirst).slice(0, rows);
}

/** The order of `callsSql`. */
function newestFirst(a: CallRow, b: CallRow): number {
  return (
    Number(b.start_ms) - Number(a.start_ms) ||
    compareUnsigned(b.cdr_key, a.cdr_key) ||
    Buffer.compare(Buffer.from(b.calling_number), Buffer.from(a.calling_number))
  );
}

/** Decimal texts without leading zeros. */
function compareUnsigned(a: string, b: string): number {
  return a.length - b.length || (a < b ? -1 : Number(a > b));
}
