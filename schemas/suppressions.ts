import { createHash } from 'node:crypto';
import { E164_DIGITS_MAX, isE164 } from './number-key.ts';
import { deriveKey } from './record-key.ts';
import { sipHash24, type SipKey } from './siphash.ts';

/**
 * Suppressions (docs/decisions/0018): what was erased for a person must not come back from Kafka, from dead letters or
 * with a file that is sent again. The table `suppressions` holds a keyed hash of each number, never the number, and the
 * span of event time `[from, to)` for which it holds.
 */

/**
 * `drop`: calls that the number made are not stored. `blank`: calls of others in which it was dialed or displayed are
 * stored with the number blanked (`blankedNumber`).
 */
export const SUPPRESSION_KINDS = ['drop', 'blank'] as const;
export type SuppressionKind = (typeof SUPPRESSION_KINDS)[number];

/** A row of `suppressions` as services read it. */
export interface Suppression {
  readonly kind: SuppressionKind;
  /** `suppressionHash` of the number. */
  readonly numberHash: string;
  /** The feed whose number it is; empty: that of any feed, as an E.164 number is. */
  readonly feed: string;
  /** UTC ms. */
  readonly fromMs: number;
  readonly toMs: number;
}

/** The suppressions as of a version, which grows with every change; 0: there are none. */
export interface SuppressionSet {
  readonly version: number;
  readonly suppressions: readonly Suppression[];
}

export const NO_SUPPRESSIONS: SuppressionSet = { version: 0, suppressions: [] };

/**
 * How long a writer may write after it said in `ingest_writers` which suppressions it works with. Whoever adds
 * suppressions waits that long for a writer that says nothing any more.
 */
export const WRITER_LEASE_MS = 30_000;

/** Two hashes of 64 bits: the first one finds, the second one makes sure that no call is dropped by chance. */
export interface SuppressionKeys {
  readonly first: SipKey;
  readonly second: SipKey;
  /** Names the keys without telling them. */
  readonly id: string;
}

export function suppressionKeys(identityKey: Uint8Array): SuppressionKeys {
  const first = deriveKey(identityKey, 'suppression', 'first');
  const second = deriveKey(identityKey, 'suppression', 'second');
  const id = createHash('sha256').update(`${first.k0} ${first.k1} ${second.k0} ${second.k1}`).digest('hex');
  return { first, second, id: id.slice(0, 8) };
}

/** What `suppressions` holds in place of a number: both hashes, as 32 hexadecimal digits. */
export function suppressionHash({ first, second }: SuppressionKeys, number: string): string {
  const bytes = Buffer.from(number, 'utf8');
  return [first, second].map((key) => sipHash24(key, bytes).toString(16).padStart(16, '0')).join('');
}

/** Most digits that are left of a blanked number, and how many are taken at least. */
const KEPT_DIGITS_MAX = 6;
const BLANKED_DIGITS_MIN = 5;

/** How many digits of an E.164 number of so many stay when it is blanked. */
export function keptDigits(digits: number): number {
  return Math.max(0, Math.min(KEPT_DIGITS_MAX, digits - BLANKED_DIGITS_MIN));
}

/**
 * What is stored in place of a number that was erased: the beginning of an E.164 number, by which the call is rated
 * (`+336123`), a text that itself has a number key; nothing of any other text.
 */
export function blankedNumber(number: string): string {
  if (!isE164(number)) return '';
  const kept = keptDigits(number.length - 1);
  return kept === 0 ? '' : number.slice(0, 1 + kept);
}

/** SQL of `blankedNumber` of a column. */
export function blankedSql(column: string): string {
  const kept = `least(${KEPT_DIGITS_MAX}, length(${column}) - ${1 + BLANKED_DIGITS_MIN})`;
  const isLong = `length(${column}) > ${1 + BLANKED_DIGITS_MIN}`;
  return `if(match(${column}, '^[+][0-9]{1,${E164_DIGITS_MAX}}$') AND ${isLong}, substring(${column}, 1, 1 + ${kept}), '')`;
}

/**
 * A record that could not be read has no start. It comes at most this much later than its call; what comes later is taken
 * for that of whoever holds the number then.
 */
export const LETTER_LATE_MS = 31 * 86_400_000;

/** Bytes that may stand between the digits of a number: space, `-`, `.`, `(`, `)`, `/`. */
const SEPARATORS = new Set(Buffer.from(' -.()/'));
const PLUS = 0x2b;
const REDACTED = 'x'.charCodeAt(0);
/** Separators between two runs of digits of one number. */
const SEPARATORS_MAX = 2;
const RUNS_MAX = 8;
/** Digits of a number with what may be dialed before it. */
const DIGITS_MAX = E164_DIGITS_MAX + 8;
/** A shorter one may be anything: a duration, an extension. */
const DIGITS_MIN = 6;
const KEPT_OF_SPELLING_MAX = 4;

interface Run {
  readonly start: number;
  readonly end: number;
  readonly hasPlus: boolean;
}

/**
 * Overwrites numbers in the bytes of a record that could not be read, in whatever way they are spelt: with spaces,
 * dashes, brackets; `+`, `00`, `%2B` or nothing before. What is left has as many bytes as before. Gives how many were
 * overwritten.
 *
 * @param isErased told the texts that a spelling can be: digits as sent, and with a `+` before them
 */
export function redactNumbers(raw: Uint8Array, isErased: (texts: readonly string[]) => boolean): number {
  let redacted = 0;
  for (const runs of neighbours(raw, digitRuns(raw))) {
    for (let first = 0; first < runs.length; first++) {
      let digits = '';
      for (let last = first; last < runs.length; last++) {
        digits += Buffer.from(raw.subarray(runs[last]!.start, runs[last]!.end)).toString('latin1');
        if (digits.length > DIGITS_MAX) break;
        if (digits.length < DIGITS_MIN || !isErased(spellings(digits, runs[first]!.hasPlus))) continue;
        overwrite(raw, runs.slice(first, last + 1), digits.length);
        redacted++;
        first = last;
        break;
      }
    }
  }
  return redacted;
}

function spellings(digits: string, hasPlus: boolean): string[] {
  if (hasPlus) return [`+${digits}`];
  return [digits, `+${digits}`, ...(digits.startsWith('00') ? [`+${digits.slice(2)}`] : [])];
}

function isDigit(byte: number | undefined): boolean {
  return byte !== undefined && byte >= 0x30 && byte <= 0x39;
}

function digitRuns(raw: Uint8Array): Run[] {
  const runs: Run[] = [];
  for (let at = 0; at < raw.length; at++) {
    // An escape of a URL: its digits are none of the number.
    const escape = raw[at] === 0x25 && raw[at + 1] === 0x32 && (raw[at + 2]! | 0x20) === 0x62;
    if (escape) at += 3;
    if (!isDigit(raw[at])) continue;
    const start = at;
    while (isDigit(raw[at])) at++;
    runs.push({ start, end: at, hasPlus: escape || raw[start - 1] === PLUS });
    at--;
  }
  return runs;
}

/** Runs with nothing but a few separators between them, which may be one number. */
function* neighbours(raw: Uint8Array, runs: readonly Run[]): Generator<readonly Run[]> {
  let group: Run[] = [];
  for (const run of runs) {
    const before = group.at(-1);
    if (before !== undefined && (group.length === RUNS_MAX || !isNextTo(raw, before, run))) {
      yield group;
      group = [];
    }
    group.push(run);
  }
  if (group.length > 0) yield group;
}

function isNextTo(raw: Uint8Array, { end }: Run, { start, hasPlus }: Run): boolean {
  return (
    !hasPlus &&
    start - end <= SEPARATORS_MAX &&
    raw.subarray(end, start).every((byte) => SEPARATORS.has(byte))
  );
}

function overwrite(raw: Uint8Array, runs: readonly Run[], digits: number): void {
  let kept = Math.max(0, Math.min(KEPT_OF_SPELLING_MAX, digits - DIGITS_MIN));
  for (const { start, end } of runs) {
    for (let at = start; at < end; at++) if (kept-- <= 0) raw[at] = REDACTED;
  }
}
