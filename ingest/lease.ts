import { CdrhouseError } from '../schemas/errors.ts';

/** Thrown where the group no longer counts this process as the owner of its partitions. */
export class OwnershipLost extends CdrhouseError {
  constructor(cause: unknown) {
    super('OWNERSHIP_LOST', 'the consumer group has given the partitions away', cause);
  }
}

/** A proof is fetched anew when less than this share of the session is left. */
const RENEW_SHARE = 0.5;

/**
 * Until when this process may write. The group's coordinator accepts a commit only from a current member, and
 * counts a member as alive for one session timeout after it: so a commit that was accepted, sent at t, proves
 * that nobody else owns the partitions before t + session timeout. Every insert carries that moment as a
 * deadline which the server checks. A process that was stopped meanwhile and wakes up has no valid proof, cannot
 * get one, and writes nothing.
 */
export class Lease {
  readonly #sessionMs: number;
  readonly #prove: () => Promise<number>;
  readonly #now: () => number;
  #provenAtMs = Number.NEGATIVE_INFINITY;
  #proving: Promise<void> | undefined;

  /**
   * @param prove commits the current offsets and gives the moment as of which that was accepted; rejects with OwnershipLost
   *   where the group refuses it
   */
  constructor(sessionMs: number, prove: () => Promise<number>, now: () => number = Date.now) {
    this.#sessionMs = sessionMs;
    this.#prove = prove;
    this.#now = now;
  }

  /** Notes that a commit which was sent at this moment was accepted. */
  proven(sentAtMs: number): void {
    this.#provenAtMs = Math.max(this.#provenAtMs, sentAtMs);
  }

  /** UTC ms by this host's clock until which a write is allowed; fetches a proof where the last one is old. */
  async deadline(): Promise<number> {
    if (this.#now() > this.#provenAtMs + this.#sessionMs * RENEW_SHARE) await this.#renew();
    return this.#provenAtMs + this.#sessionMs;
  }

  /** One proof at a time, for all who wait. */
  #renew(): Promise<void> {
    this.#proving ??= this.#fetchProof().finally(() => {
      this.#proving = undefined;
    });
    return this.#proving;
  }

  async #fetchProof(): Promise<void> {
    this.proven(await this.#prove());
  }
}
