import { moment } from './sql-time.ts';
import { CdrhouseError } from './errors.ts';

/**
 * What is to become of a rejected record. `open`: it waits for a replay. `replayed`: a replay stored it (or
 * found that it is no record, or past its term). `superseded`: its range was read again since, under other
 * settings of the feed, and it was not rejected then.
 */
export const DEAD_LETTER_STATES = ['open', 'replayed', 'superseded'] as const;
export type DeadLetterState = (typeof DEAD_LETTER_STATES)[number];

/** Where a rejected record stood in Kafka. */
export interface DeadLetterPlace {
  readonly topic: string;
  readonly partition: number;
  readonly offset: number;
  readonly line: number;
}

/** A stretch of one partition: places behind `after` (if there is one) up to `until`. */
export interface DeadLetterStretch {
  readonly feed?: string | undefined;
  readonly topic: string;
  readonly topicId: string;
  readonly partition: number;
  readonly after?: { readonly offset: number; readonly line: number } | undefined;
  readonly until?: { readonly offset: number; readonly line: number } | undefined;
}

/** Which rejected records; what is undefined does not restrict. */
export interface DeadLetterFilter {
  readonly feed?: string | undefined;
  readonly code?: string | undefined;
  /** Message times in UTC ms, `[fromMs, toMs)`. */
  readonly fromMs?: number | undefined;
  readonly toMs?: number | undefined;
  readonly place?: DeadLetterPlace | undefined;
  readonly states?: readonly DeadLetterState[] | undefined;
}

/** Reads `topic/partition/offset/line`. Throws USAGE_WRONG. */
export function readPlace(text: string): DeadLetterPlace {
  const match = /^(.+)\/([0-9]{1,9})\/([0-9]{1,15})\/([0-9]{1,9})$/.exec(text);
  if (match === null)
    throw new CdrhouseError('USAGE_WRONG', 'a place is topic/partition/offset/line, as list prints it');
  const [, topic, partition, offset, line] = match;
  return { topic: topic!, partition: Number(partition), offset: Number(offset), line: Number(line) };
}

/** A table expression for FROM, and its bound parameters. */
export interface DeadLettersSql {
  readonly from: string;
  readonly parameters: Readonly<Record<string, unknown>>;
}

/** The sides of an equal second are explained where the marks are made: `ingest/replay.ts`, and reading again. */
const STATE = `multiIf(
    mark.state = 'replayed' AND mark.marked_at >= letter.rejected_at, 'replayed',
    mark.state = 'superseded' AND mark.marked_at > letter.rejected_at, 'superseded',
    'open')`;

/**
 * The rejected records of a filter, each with its `state` and what the last replay noted (`replay_generation`,
 * `replay_reading`; 0 and empty where there was none).
 *
 * A mark speaks of the rejections up to its `marked_at`; a record that was rejected again later is open
 * again. Times have seconds. A replay marks with the very `rejected_at` that it read, so equality means
 * `replayed`. Reading again marks with the moment before it begins, and what it rejects may carry that
 * second, so equality means rejected again: open.
 */
export function deadLettersSql(
  database: string,
  filter: DeadLetterFilter,
  stretch?: DeadLetterStretch,
): DeadLettersSql {
  const { ofPlaces, ofLetters, parameters } = conditions(filter, stretch);
  const ofState = filter.states === undefined ? '' : 'WHERE state IN {states: Array(String)}';
  return {
    from: `(SELECT * FROM (
  SELECT letter.feed AS feed, letter.topic AS topic, letter.topic_id AS topic_id, letter.partition AS partition,
    letter.offset AS offset, letter.line AS line, letter.code AS code, letter.field AS field,
    letter.position AS position, letter.raw AS raw, letter.message_at AS message_at,
    letter.rejected_at AS rejected_at, ${STATE} AS state,
    mark.generation AS replay_generation, mark.reading AS replay_reading
  FROM (SELECT * FROM ${database}.dead_letters FINAL ${where([...ofPlaces, ...ofLetters])}) AS letter
  LEFT JOIN (SELECT * FROM ${database}.dead_letter_marks FINAL ${where(ofPlaces)}) AS mark
  USING (topic, topic_id, partition, offset, line)) ${ofState})`,
    parameters: { ...parameters, ...(filter.states === undefined ? {} : { states: filter.states }) },
  };
}

function where(parts: readonly string[]): string {
  return parts.length === 0 ? '' : `WHERE ${parts.join(' AND ')}`;
}

/**
 * The same without states: what `dead_letters` holds, for finding the bounds of a page without looking at
 * the marks.
 */
export function deadLetterPlacesSql(
  database: string,
  filter: DeadLetterFilter,
  stretch: DeadLetterStretch,
): DeadLettersSql {
  const { ofPlaces, ofLetters, parameters } = conditions(filter, stretch);
  return {
    from: `(SELECT * FROM ${database}.dead_letters FINAL WHERE ${[...ofPlaces, ...ofLetters].join(' AND ')})`,
    parameters,
  };
}

function conditions(
  { feed, code, fromMs, toMs, place }: DeadLetterFilter,
  stretch: DeadLetterStretch | undefined,
): {
  /** Conditions that hold for a mark as well, so that only marks of these places are joined. */
  ofPlaces: string[];
  ofLetters: string[];
  parameters: Record<string, unknown>;
} {
  const ofPlaces: string[] = [];
  const ofLetters: string[] = [];
  const parameters: Record<string, unknown> = {};
  const restrict = (list: string[], condition: string, values: Readonly<Record<string, unknown>>): void => {
    list.push(condition);
    Object.assign(parameters, values);
  };
  if (feed !== undefined) restrict(ofLetters, 'feed = {feed: String}', { feed });
  if (code !== undefined) restrict(ofLetters, 'code = {code: String}', { code });
  if (fromMs !== undefined)
    restrict(ofPlaces, `message_at >= ${moment('from_ms')}`, {
      from_ms: fromMs,
    });
  if (toMs !== undefined) restrict(ofPlaces, `message_at < ${moment('to_ms')}`, { to_ms: toMs });
  if (place !== undefined) {
    restrict(
      ofPlaces,
      `topic = {place_topic: String} AND partition = {place_partition: Int32}
      AND offset = {place_offset: Int64} AND line = {place_line: UInt32}`,
      {
        place_topic: place.topic,
        place_partition: place.partition,
        place_offset: place.offset,
        place_line: place.line,
      },
    );
  }
  if (stretch !== undefined) {
    const { topic, topicId, partition, after, until } = stretch;
    restrict(
      ofPlaces,
      'topic = {topic: String} AND topic_id = {topic_id: String} AND partition = {partition: Int32}',
      { topic, topic_id: topicId, partition },
    );
    if (stretch.feed !== undefined)
      restrict(ofLetters, 'feed = {stretch_feed: String}', { stretch_feed: stretch.feed });
    if (after !== undefined)
      restrict(
        ofPlaces,
        'offset >= {after_offset: Int64} AND (offset, line) > ({after_offset: Int64}, {after_line: UInt32})',
        { after_offset: after.offset, after_line: after.line },
      );
    if (until !== undefined)
      restrict(
        ofPlaces,
        'offset <= {until_offset: Int64} AND (offset, line) <= ({until_offset: Int64}, {until_line: UInt32})',
        { until_offset: until.offset, until_line: until.line },
      );
  }
  return { ofPlaces, ofLetters, parameters };
}
