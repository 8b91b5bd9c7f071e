import type { ParsedBatch } from './parse/batch.ts';
import type { ReaderKind } from './readers/reader.ts';

/** What `ingest --until-idle` prints: consumed = stored + rejected + suppressed + skipped. */
export interface IngestSummary {
  consumed: number;
  /** Accepted records, duplicates included. */
  stored: number;
  rejected: number;
  rejected_by_code: Record<string, number>;
  suppressed: number;
  /** Of the stored ones, those in which the number of a person who was erased is blanked. */
  blanked: number;
  skipped: number;
  skipped_by_reason: Record<string, number>;
  seconds: number;
  /** How messages were read; plain where one of several processes did. */
  reader: ReaderKind;
}

export function emptySummary(): IngestSummary {
  return {
    consumed: 0,
    stored: 0,
    rejected: 0,
    rejected_by_code: {},
    suppressed: 0,
    blanked: 0,
    skipped: 0,
    skipped_by_reason: {},
    seconds: 0,
    reader: 'packed',
  };
}

export function addToSummary(summary: IngestSummary, parsed: ParsedBatch): void {
  for (const counts of parsed.counts) {
    summary.consumed += counts.records;
    summary.stored += counts.stored;
    summary.rejected += counts.rejected;
    summary.suppressed += counts.suppressed;
    summary.blanked += counts.blanked;
    summary.skipped += counts.skipped;
    addAll(summary.rejected_by_code, counts.rejectedByCode);
    addAll(summary.skipped_by_reason, counts.skippedByReason);
  }
}

/** The sum of two processes' summaries; the time is the caller's to say. */
export function addSummaries(sum: IngestSummary, more: IngestSummary): IngestSummary {
  sum.consumed += more.consumed;
  sum.stored += more.stored;
  sum.rejected += more.rejected;
  sum.suppressed += more.suppressed;
  sum.blanked += more.blanked;
  sum.skipped += more.skipped;
  addAll(sum.rejected_by_code, more.rejected_by_code);
  addAll(sum.skipped_by_reason, more.skipped_by_reason);
  if (more.reader === 'plain') sum.reader = 'plain';
  return sum;
}

function addAll(sums: Record<string, number>, counts: Readonly<Record<string, number>>): void {
  for (const [name, count] of Object.entries(counts)) sums[name] = (sums[name] ?? 0) + count;
}
