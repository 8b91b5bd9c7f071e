/*
 * What became of records whose ids are known. Sets of ids, never counts: one that is lost and one that is there twice would
 * make up for each other.
 */

/** A row of a table of calls: the id, and all that the record said, as one text. */
export interface StoredRow {
  readonly id: string;
  readonly content: string;
}

/** What was sent. */
export interface Expected {
  /** Content by id of the records that must be stored. */
  readonly good: ReadonlyMap<string, string>;
  /** What is wrong, by id, with those that no row can say the truth of. */
  readonly bad: ReadonlyMap<string, string>;
}

export interface Verdict {
  /** Good ids that a table lacks. */
  readonly lost: ReadonlySet<string>;
  /** Ids that a table has more than once. */
  readonly twice: ReadonlySet<string>;
  /** Good ids whose content is another one, and bad ids that are stored as if they were good. */
  readonly altered: ReadonlySet<string>;
  /** Ids in the tables that nobody sent. */
  readonly madeUp: ReadonlySet<string>;
  /** Bad ids that were kept aside, and those that are nowhere. */
  readonly aside: ReadonlySet<string>;
  readonly gone: ReadonlySet<string>;
}

/**
 * Judges what is stored.
 * @param tables rows of each table that must have every call
 * @param aside ids of the records that were put aside
 */
export function judge(
  { good, bad }: Expected,
  tables: readonly (readonly StoredRow[])[],
  aside: ReadonlySet<string>,
): Verdict {
  const verdict = {
    lost: new Set<string>(),
    twice: new Set<string>(),
    altered: new Set<string>(),
    madeUp: new Set<string>(),
    aside: new Set<string>(),
    gone: new Set<string>(),
  };
  const anywhere = new Set(aside);
  for (const rows of tables) {
    const seen = new Set<string>();
    for (const { id, content } of rows) {
      if (seen.has(id)) verdict.twice.add(id);
      seen.add(id);
      anywhere.add(id);
      const sent = good.get(id);
      if (sent === undefined) (bad.has(id) ? verdict.altered : verdict.madeUp).add(id);
      else if (sent !== content) verdict.altered.add(id);
    }
    for (const id of good.keys()) if (!seen.has(id)) verdict.lost.add(id);
  }
  for (const id of bad.keys()) {
    if (aside.has(id)) verdict.aside.add(id);
    if (!anywhere.has(id)) verdict.gone.add(id);
  }
  return verdict;
}

/** How many ids of each kind of badness there are among these: `a duration of -5: 12`. */
export function byKind(ids: ReadonlySet<string>, { bad }: Expected): Map<string, number> {
  const counts = new Map<string, number>();
  for (const id of ids) {
    const kind = bad.get(id) ?? 'a good record';
    counts.set(kind, (counts.get(kind) ?? 0) + 1);
  }
  return counts;
}
