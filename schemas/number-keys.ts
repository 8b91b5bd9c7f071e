import { e164Key, isE164, textKey } from './number-key.ts';
import { deriveKey } from './record-key.ts';
import { sipHash24, type SipKey } from './siphash.ts';

/** Numbers as text, and the keys under which they can be stored. */
export interface NumberList {
  readonly texts: readonly string[];
  readonly keys: readonly number[];
}

/** Number keys of texts as ingest computes them: one for an E.164 number, one per feed for any other text. */
export class NumberKeys {
  readonly #identityKey: Uint8Array;
  readonly #hashKeys = new Map<string, SipKey>();

  constructor(identityKey: Uint8Array) {
    this.#identityKey = identityKey;
  }

  /** The key under which this feed's records store the number. */
  keyOf(feed: string, text: string): number {
    return isE164(text) ? e164Key(text) : textKey(sipHash24(this.#hashKey(feed), Buffer.from(text, 'utf8')));
  }

  /** All keys under which any of the feeds can store any of the texts, in order. */
  keysOf(feeds: readonly string[], texts: readonly string[]): number[] {
    const keys = texts.flatMap((text) =>
      isE164(text) ? [e164Key(text)] : feeds.map((feed) => this.keyOf(feed, text)),
    );
    return [...new Set(keys)].sort((a, b) => a - b);
  }

  /** These texts, each once, with all their keys. */
  listOf(feeds: readonly string[], texts: readonly string[]): NumberList {
    const unique = [...new Set(texts)];
    return { texts: unique, keys: this.keysOf(feeds, unique) };
  }

  /** Feeds are as many as the settings and the ledger have, so the map stays small. */
  #hashKey(feed: string): SipKey {
    let key = this.#hashKeys.get(feed);
    if (key === undefined) {
      key = deriveKey(this.#identityKey, 'number', feed);
      this.#hashKeys.set(feed, key);
    }
    return key;
  }
}
