import { applyDialPlan, dialPlanOf } from '../schemas/dial-plan.ts';
import { CdrhouseError } from '../schemas/errors.ts';
import { requireKnownFeed } from '../schemas/feed.ts';
import { isE164 } from '../schemas/number-key.ts';
import { NUMBER_LENGTH_MAX, withoutSeparators } from '../schemas/number-spelling.ts';
import type { Settings } from '../schemas/settings.ts';
import { tellsNothing } from '../schemas/masking.ts';

/**
 * The person behind numbers in a time: numbers are reassigned, so that only calls that begin in the time are theirs.
 */
export interface Subject {
  /** Texts under which calls hold the numbers. */
  readonly numbers: readonly string[];
  /** Feeds whose numbers are meant; undefined: of all. Given where none of the numbers is E.164. */
  readonly feeds: readonly string[] | undefined;
  /**
   * Of a number of all feeds that was typed as it is dialed: the only feed that was known, in which its digits are meant too.
   * In a feed that is added later the same text may be another person.
   */
  readonly textFeed?: string | undefined;
  /** UTC ms, `[fromMs, toMs)`. */
  readonly fromMs: number;
  readonly toMs: number;
}

/** The person as the command line names them. */
export interface SubjectOptions {
  readonly numbers: readonly string[];
  readonly feeds: readonly string[] | undefined;
  readonly fromMs: number;
  /** Undefined: they hold the numbers to this day. */
  readonly toMs: number | undefined;
}

/** Each number with the feed whose number it is; an empty one: that of all. */
export function numbersByFeed({
  numbers,
  feeds,
  textFeed = '',
}: Subject): { readonly number: string; readonly feed: string }[] {
  return numbers.flatMap((number) =>
    (feeds ?? [isE164(number) ? '' : textFeed]).map((feed) => ({ number, feed })),
  );
}

/** The end of a time that has none: no call begins behind it. */
export const OPEN_END_MS = Date.UTC(2290, 0, 1);

/** `2026-03-01T10:00:00.000Z` */
export function isoTime(ms: number): string {
  return new Date(ms).toISOString();
}

const CONTROL = /\p{Cc}/u;

/**
 * Reads who is meant. A number is taken as it is written and as E.164: `+…`, `00…`, or as the country of
 * `query.default_country` dials it. What is no E.164 number (an extension, a number of a feed without a country) is
 * another person's on another switch, so that the feeds must be named, unless there is one. Throws USAGE_WRONG,
 * which repeats no number, and FEED_UNKNOWN.
 * @param known every feed that calls can be of
 */
export function readSubject(settings: Settings, options: SubjectOptions, known: readonly string[]): Subject {
  const { fromMs, toMs = OPEN_END_MS } = options;
  if (fromMs >= toMs) throw new CdrhouseError('USAGE_WRONG', '--from must be before --to');
  for (const feed of options.feeds ?? []) requireKnownFeed(feed, known);
  const readings = options.numbers.map((typed) => readTyped(typed, settings.query.default_country));
  const isOfAll = options.feeds === undefined && known.length !== 1;
  if (isOfAll && readings.some(({ e164 }) => e164 === undefined)) {
    throw new CdrhouseError(
      'USAGE_WRONG',
      'a number that is not E.164 is another person on another switch: say --feed as well',
    );
  }
  const numbers = readings.flatMap(({ texts, e164 }) =>
    // A national text is somebody else's in a feed of another country.
    e164 !== undefined && isOfAll ? [e164] : [...texts, ...(e164 === undefined ? [] : [e164])],
  );
  const feeds = options.feeds ?? (numbers.some(isE164) ? undefined : known);
  const textFeed = feeds !== undefined || numbers.every(isE164) ? undefined : known[0];
  return {
    numbers: [...new Set(numbers)].sort(),
    feeds: feeds && [...new Set(feeds)].sort(),
    textFeed,
    fromMs,
    toMs,
  };
}

function readTyped(
  typed: string,
  country: string | undefined,
): { readonly texts: readonly string[]; readonly e164: string | undefined } {
  const text = typed.trim();
  if (text === '' || text.length > NUMBER_LENGTH_MAX || CONTROL.test(typed) || tellsNothing(text)) {
    throw new CdrhouseError(
      'USAGE_WRONG',
      `--number: 1 to ${NUMBER_LENGTH_MAX} printable characters that name a person's line`,
    );
  }
  const compact = withoutSeparators(text);
  // A switch may write what is no number with such characters in it.
  const texts = compact === '' ? [text] : [text, compact];
  if (isE164(compact)) return { texts: [compact], e164: compact };
  const planned = country === undefined ? undefined : applyDialPlan(compact, dialPlanOf(country));
  if (planned !== undefined && isE164(planned)) return { texts: [compact], e164: planned };
  const international = /^00[1-9][0-9]{6,14}$/.test(compact) ? `+${compact.slice(2)}` : undefined;
  return { texts: international === undefined ? texts : [compact], e164: international };
}
