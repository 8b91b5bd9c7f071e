import { deriveKey } from '../../schemas/record-key.ts';
import type { SipKey } from '../../schemas/siphash.ts';
import {
  keptDigits,
  LETTER_LATE_MS,
  suppressionKeys,
  type Suppression,
  type SuppressionKeys,
  type SuppressionKind,
  type SuppressionSet,
} from '../../schemas/suppressions.ts';
import type { BatchMemory } from './batch-memory.ts';
import { CALL, sameText, TEXT } from './call-records.ts';

/** What becomes of a call. */
export type Suppressed = 'drop' | 'blanked' | 'none';

/**
 * Finds calls of persons who were erased. Numbers are hashed only for calls whose start lies in a span of some
 * suppression: a batch of today's calls costs one comparison a call.
 */
export class SuppressionCheck {
  readonly version: number;
  readonly #memory: BatchMemory;
  readonly #feeds: readonly string[];
  readonly #keys: SuppressionKeys;
  readonly #textKeys: readonly SipKey[];
  /** By the upper 53 bits of the first hash. */
  readonly #byHash = new Map<number, Suppression[]>();
  /** Disjoint, in order. */
  readonly #spans: readonly { readonly fromMs: number; readonly toMs: number }[];

  /** Undefined where there are none, so that parsing pays for nothing. */
  static of(
    set: SuppressionSet,
    context: { readonly feeds: readonly string[]; readonly identityKey: Uint8Array },
    memory: BatchMemory,
  ): SuppressionCheck | undefined {
    return set.suppressions.length === 0 ? undefined : new SuppressionCheck(set, context, memory);
  }

  private constructor(
    { version, suppressions }: SuppressionSet,
    { feeds, identityKey }: { readonly feeds: readonly string[]; readonly identityKey: Uint8Array },
    memory: BatchMemory,
  ) {
    this.version = version;
    this.#memory = memory;
    this.#feeds = feeds;
    this.#keys = suppressionKeys(identityKey);
    this.#textKeys = feeds.map((feed) => deriveKey(identityKey, 'number', feed));
    for (const suppression of suppressions) {
      const high = Number.parseInt(suppression.numberHash.slice(0, 8), 16);
      const low = Number.parseInt(suppression.numberHash.slice(8, 16), 16);
      const key = upperBits(high, low);
      this.#byHash.set(key, [...(this.#byHash.get(key) ?? []), suppression]);
    }
    this.#spans = union(suppressions);
  }

  /** Whether a call that begins then may be suppressed. */
  covers(startMs: number): boolean {
    const spans = this.#spans;
    let low = 0;
    let high = spans.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (spans[middle]!.toMs <= startMs) low = middle + 1;
      else high = middle;
    }
    return low < spans.length && spans[low]!.fromMs <= startMs;
  }

  /** Judges the call that was read, and blanks numbers in it. */
  apply(feed: number, startMs: number): Suppressed {
    const { words } = this.#memory;
    const [calling, displayed, dialed] = [TEXT.callingNumber, TEXT.displayedCallerId, TEXT.dialedNumber].map(
      (text) => (CALL.texts >> 2) + 2 * text,
    ) as [number, number, number];
    if (this.#isSuppressed(words[calling]!, words[calling + 1]!, feed, 'drop', startMs)) return 'drop';
    let blanked = false;
    for (const [place, key] of [
      [displayed, CALL.displayedKey],
      [dialed, CALL.dialedKey],
    ] as const) {
      const [start, end] = [words[place]!, words[place + 1]!];
      // The person's own call, which is still needed, keeps its number wherever it stands.
      if (sameText(this.#memory, start, end, words[calling]!, words[calling + 1]!)) continue;
      if (!this.#isSuppressed(start, end, feed, 'blank', startMs)) continue;
      this.#blank(place, key, feed);
      blanked = true;
    }
    return blanked ? 'blanked' : 'none';
  }

  /** Whether a record that could not be read, and came then, may be of an erased person. */
  coversLetter(messageAtMs: number): boolean {
    return this.#spans.some(
      ({ fromMs, toMs }) => messageAtMs >= fromMs && messageAtMs < toMs + LETTER_LATE_MS,
    );
  }

  /** Whether the number in `[start, end)` is one of those whose records, read or not, are suppressed around then. */
  isErased(start: number, end: number, feed: number, messageAtMs: number): boolean {
    return this.#find(start, end, feed).some(
      ({ fromMs, toMs }) => messageAtMs >= fromMs && messageAtMs < toMs + LETTER_LATE_MS,
    );
  }

  #isSuppressed(start: number, end: number, feed: number, kind: SuppressionKind, startMs: number): boolean {
    if (start >= end) return false;
    for (const suppression of this.#find(start, end, feed)) {
      if (suppression.kind === kind && startMs >= suppression.fromMs && startMs < suppression.toMs)
        return true;
    }
    return false;
  }

  /** The suppressions of the number whose text is in `[start, end)`. */
  #find(start: number, end: number, feed: number): readonly Suppression[] {
    const memory = this.#memory;
    memory.hash(this.#keys.first, start, end - start);
    const { hashHigh, hashLow } = memory;
    const found = this.#byHash.get(upperBits(hashHigh, hashLow));
    if (found === undefined) return [];
    memory.hash(this.#keys.second, start, end - start);
    const hash = [hashHigh, hashLow, memory.hashHigh, memory.hashLow]
      .map((word) => word.toString(16).padStart(8, '0'))
      .join('');
    return found.filter(
      ({ numberHash, feed: only }) => numberHash === hash && (only === '' || only === this.#feeds[feed]),
    );
  }

  /** `blankedNumber`, in place: what stays is the text's beginning. */
  #blank(place: number, key: number, feed: number): void {
    const memory = this.#memory;
    const { words, doubles } = memory;
    const [start, end] = [words[place]!, words[place + 1]!];
    const kept = memory.e164Key(start, end) < 0 ? 0 : keptDigits(end - start - 1);
    const keptEnd = kept === 0 ? start : start + 1 + kept;
    words[place + 1] = keptEnd;
    if (kept > 0) doubles[key >> 3] = memory.e164Key(start, keptEnd);
    else if (key === CALL.displayedKey) doubles[key >> 3] = Number.NaN;
    else {
      memory.hash(this.#textKeys[feed]!, start, 0);
      doubles[key >> 3] = memory.hashedTextKey;
    }
  }
}

function upperBits(high: number, low: number): number {
  return high * 2_097_152 + (low >>> 11);
}

function union(suppressions: readonly Suppression[]): { readonly fromMs: number; readonly toMs: number }[] {
  const spans: { fromMs: number; toMs: number }[] = [];
  for (const { fromMs, toMs } of [...suppressions].sort((a, b) => a.fromMs - b.fromMs)) {
    const last = spans.at(-1);
    if (last !== undefined && fromMs <= last.toMs) last.toMs = Math.max(last.toMs, toMs);
    else spans.push({ fromMs, toMs });
  }
  return spans;
}
