import type { GoneReport, ReloadReport } from './reload.ts';

const WHY: Readonly<Record<GoneReport['reason'], string>> = {
  expired: 'Kafka no longer holds them',
  topic_deleted: 'the topic was deleted since',
  topic_not_read: 'no feed reads this topic now',
};

/** What a reload found, one line a partition or range. */
export function reloadLines({ topic, again, gone }: ReloadReport): string[] {
  return [
    ...again.map(
      (line) =>
        `again  ${topic}/${line.partition}  offsets ${line.from_offset} to ${line.next_offset - 1}; ` +
        `${line.replaced} calls stored before offset ${line.replaced_until} are replaced`,
    ),
    ...gone.map(
      (line) =>
        `gone  ${line.topic}/${line.partition}  offsets ${line.from_offset} to ${line.next_offset - 1} (${WHY[line.reason]}); ` +
        `sent to Kafka ${line.first_message_at} to ${line.last_message_at} as ${line.feed}; ` +
        `${line.stored} calls${ofDays(line.days)}, ${line.still_stored} still stored, ${line.rejected} rejected`,
    ),
  ];
}

/** What there is to know and to do next. */
export function reloadAdvice(report: ReloadReport): string[] {
  const { feed, topic, dry_run, group_idle, again, waiting, gone, removed, other_topics } = report;
  const lines: string[] = [];
  if (again.length === 0 && gone.length === 0)
    lines.push(`nothing that was read from ${topic} in this time was read with other settings than today's`);
  for (const other of other_topics)
    lines.push(
      `no feed reads topic ${other.topic} (feed ${other.feeds.join(', ')}): a feed that was renamed needs the topic that it had, as topic: ${other.topic}`,
    );
  if (waiting.length > 0)
    lines.push(
      `partitions ${waiting.join(', ')} of ${topic} wait since an earlier reload or rewind: start ingest`,
    );
  const dry = dry_run ? 'nothing was written; ' : '';
  if (again.length > 0) {
    const calls = again.reduce((sum, { replaced }) => sum + replaced, 0);
    lines.push(
      dry_run
        ? `${dry}${calls} calls would be replaced${group_idle ? '' : '; the consumer group has members, so stop ingest first'}`
        : `${calls} calls are replaced by the next ingest, and stay as they are until then: start ingest`,
    );
  }
  lines.push(...adviceOnGone(feed, gone, dry_run, removed));
  return lines;
}

function adviceOnGone(feed: string, gone: readonly GoneReport[], dryRun: boolean, removed: number): string[] {
  if (gone.length === 0) return [];
  const ship = `cdrhouse ship --feed ${feed} --again FILE…`;
  const days = daysOf(gone);
  const files = days === undefined ? 'their files' : `the files with the calls of ${days}`;
  if (removed > 0 && !dryRun)
    return [`${removed} calls were deleted; start ingest and ship ${files}: ${ship}`];
  const standing = gone.reduce((sum, { still_stored }) => sum + still_stored, 0);
  if (standing === 0) return [`what Kafka no longer has is not stored any more; to ship ${files}: ${ship}`];
  if (removed > 0) return [`${removed} calls that Kafka no longer has would be deleted`];
  return [
    `${standing} calls that Kafka no longer has stay as they were read (rows_where of --json finds them). ` +
      `Shipped again they would be counted twice: where ${files} are still there, repeat this with --remove-gone, then ${ship}`,
  ];
}

function ofDays(days: Readonly<Record<string, number>>): string {
  const span = spanOf(Object.keys(days));
  return span === undefined ? '' : ` of ${span}`;
}

/** First and last day; undefined where there is none. */
function daysOf(gone: readonly GoneReport[]): string | undefined {
  return spanOf(gone.flatMap(({ days }) => Object.keys(days)).sort());
}

function spanOf(days: readonly string[]): string | undefined {
  const [first, last] = [days[0], days.at(-1)];
  return first === last ? first : `${first!} to ${last!}`;
}
