import { createHash } from 'node:crypto';
import { networkOf } from '../schemas/address-list.ts';
import type { Caller } from './auth.ts';
import { Problem } from './problem.ts';

const MINUTE_MS = 60_000;
/** Of each list, at most; what is oldest is forgotten first. */
const REMEMBERED_MAX = 10_000;

interface Wrong {
  readonly count: number;
  readonly untilMs: number;
}

/**
 * Slows down whoever sends wrong keys: so many of one address in a minute, and the next is refused before anything is
 * looked up. A key that was right from there goes on, so that one wrong program beside it does not stop it. Of IPv6
 * addresses a network of 64 bits counts as one, since that is what one client has. In this process alone.
 */
export class WrongKeys {
  readonly #perMinute: number;
  readonly #now: () => number;
  readonly #wrong = new Map<string, Wrong>();
  /** Digests of address and key. */
  readonly #right = new Set<string>();

  constructor(perMinute: number, now: () => number = Date.now) {
    this.#perMinute = perMinute;
    this.#now = now;
  }

  /** What `check` gives. Throws what it throws, and the Problem KEYS_THROTTLED. */
  async around(
    address: string,
    authorization: string | undefined,
    check: () => Promise<Caller>,
  ): Promise<Caller> {
    const network = networkOf(address);
    const digest = createHash('sha256')
      .update(`${network}\n${authorization ?? ''}`)
      .digest('base64');
    if (!this.#right.has(digest)) this.#refuseBeyondLimit(network);
    try {
      const caller = await check();
      remember(this.#right, digest, () => this.#right.add(digest));
      return caller;
    } catch (error) {
      if (error instanceof Problem && error.code === 'KEY_INVALID') {
        this.#right.delete(digest);
        this.#count(network);
      }
      throw error;
    }
  }

  #refuseBeyondLimit(network: string): void {
    const { count, untilMs } = this.#wrong.get(network) ?? { count: 0, untilMs: 0 };
    const leftMs = untilMs - this.#now();
    if (count < this.#perMinute || leftMs <= 0) return;
    throw new Problem('KEYS_THROTTLED', '', {
      headers: { 'retry-after': String(Math.ceil(leftMs / 1000)) },
    });
  }

  #count(network: string): void {
    const now = this.#now();
    const before = this.#wrong.get(network);
    const wrong =
      before === undefined || before.untilMs <= now
        ? { count: 1, untilMs: now + MINUTE_MS }
        : { ...before, count: before.count + 1 };
    remember(this.#wrong, network, () => this.#wrong.set(network, wrong));
  }
}

/** Adds what is newest at the end, and lets go of what is at the begin. */
function remember(list: Map<string, Wrong> | Set<string>, name: string, add: () => unknown): void {
  list.delete(name);
  add();
  if (list.size > REMEMBERED_MAX) list.delete(list.keys().next().value!);
}
