import { deadLettersSql } from '../schemas/dead-letters.ts';
import type { CompleteFeed } from '../schemas/api.ts';
import { monthsOf } from '../schemas/retention-term.ts';
import type { Statement } from './calls-sql.ts';
import type { SelectSource } from './clickhouse.ts';
import type { Range } from './cursor.ts';
import type { KnownFeeds } from './feeds.ts';
import { borderOf, type Term } from './term-sql.ts';
import { writeMoment, writeTime } from './times.ts';

/** A row of `faultsSql`: a topic that stands at a gap with some partitions, or a feed with rejected records. */
export interface FaultRow {
  readonly kind: 'gap' | 'rejected';
  readonly name: string;
  readonly count: string;
}

/**
 * What may be missing from an answer: partitions that do not go on because of a gap, by topic, and rejected records
 * that wait for a replay, by feed. Of these the start is not known, but that their message cannot be older.
 */
function faultsSql(database: string, fromMs: number): Statement {
  const { from, parameters } = deadLettersSql(database, { fromMs, states: ['open'] });
  const text = `SELECT 'gap' AS kind, toString(topic) AS name, count() AS count
FROM ${database}.ingest_state FINAL WHERE state = 'gap' GROUP BY topic
UNION ALL
SELECT 'rejected' AS kind, toString(feed) AS name, count() AS count FROM ${from} GROUP BY feed`;
  return { text, parameters };
}

/** The faults since a moment, for `Feeds`. */
export function findFaults(database: SelectSource, fromMs: number): Promise<FaultRow[]> {
  // Several requests wait for it, so none of them may end it.
  const { signal } = new AbortController();
  return database.select<FaultRow>('faults', faultsSql(database.database, fromMs), signal);
}

export interface Asked {
  /** Feeds that were asked for; undefined: all. */
  readonly feeds: readonly string[] | undefined;
  readonly range: Range;
  readonly zone: string;
  readonly term: Term;
}

/** What an answer says about how much of its range it can hold. */
export function completenessOf(
  { feeds: chosen, range, zone, term }: Asked,
  known: KnownFeeds,
  faults: readonly FaultRow[],
  topics: ReadonlyMap<string, string>,
): { feeds: Record<string, CompleteFeed>; kept_since: string | null } {
  const countOf = (kind: FaultRow['kind'], name: string | undefined): number =>
    Number(faults.find((fault) => fault.kind === kind && fault.name === name)?.count ?? 0);
  const feeds = [...known].filter(([feed]) => chosen?.includes(feed) ?? true);
  const keptSince = (months: number): string | null => {
    const border = borderOf(months, term.nowMs);
    return range.fromMs < border ? writeTime(border, zone) : null;
  };
  return {
    feeds: Object.fromEntries(
      feeds.map(([feed, ms]) => [
        feed,
        {
          read_up_to: writeMoment(ms, zone),
          gaps: countOf('gap', topics.get(feed)),
          rejected: countOf('rejected', feed),
          kept_since: keptSince(monthsOf(term.months, feed)),
        },
      ]),
    ),
    kept_since: keptSince(term.months.all),
  };
}
