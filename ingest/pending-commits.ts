import type { LibrdKafkaError } from 'node-rdkafka';
import { CdrhouseError } from '../schemas/errors.ts';
import { OwnershipLost } from './lease.ts';
import type { PartitionOffset } from './message-chunk.ts';

const ANSWER_MS_MAX = 10_000;
/** After this time no answer comes any more: librdkafka ends a request after `socket.timeout.ms`, 60 s. */
const LOST_MS = 90_000;

/** Answers by which the coordinator says that this member, or its generation, is not the current one. */
const NOT_OWNER = new Set([
  22, // ILLEGAL_GENERATION
  25, // UNKNOWN_MEMBER_ID
  27, // REBALANCE_IN_PROGRESS
  82, // FENCED_INSTANCE_ID
  -144, // _FENCED: another member has its name
  -172, // _STATE: no assignment
]);

interface Pending {
  readonly content: string;
  readonly sentAtMs: number;
  readonly resolve: (provenAtMs: number) => void;
  readonly reject: (error: Error) => void;
}

/**
 * Commits that were sent and are not answered. librdkafka says with an answer which offsets it is for, but not which of
 * several commits of the same offsets, and some it never answers, as when the coordinator dies. So an answer counts for all
 * commits of its offsets that are under way, and proves what the first of them asked: a membership at some time after
 * that one was sent. That is never too much, and nothing has to wait for an answer that will not come.
 */
export class PendingCommits {
  /** In the order in which they were sent; those that were given up stay as long as their answer may still come. */
  readonly #pending = new Set<Pending>();

  /** Sends a commit. Resolves when it was accepted, with a moment (UTC ms) since which the group has accepted it. */
  send(offsets: readonly PartitionOffset[], start: () => void): Promise<number> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        reject(new CdrhouseError('KAFKA_UNREACHABLE', 'the coordinator does not answer a commit'));
        setTimeout(() => this.#pending.delete(pending), LOST_MS).unref();
      }, ANSWER_MS_MAX);
      const pending: Pending = {
        content: contentOf(offsets),
        sentAtMs: Date.now(),
        resolve: (provenAtMs) => {
          clearTimeout(timer);
          resolve(provenAtMs);
        },
        reject: (error) => {
          clearTimeout(timer);
          reject(error);
        },
      };
      try {
        start();
        this.#pending.add(pending);
      } catch (error) {
        pending.reject(judged(error as LibrdKafkaError));
      }
    });
  }

  /** librdkafka's answer to a commit of these offsets. */
  answered(error: LibrdKafkaError | null | undefined, offsets: readonly PartitionOffset[]): void {
    const content = contentOf(offsets);
    const meant = [...this.#pending].filter((pending) => pending.content === content);
    const isAccepted = error === null || error === undefined || error.code === 0;
    for (const pending of meant) {
      this.#pending.delete(pending);
      if (isAccepted) pending.resolve(meant[0]!.sentAtMs);
      else pending.reject(judged(error));
    }
  }
}

/** The same for the same offsets in any order: librdkafka sorts them. */
function contentOf(offsets: readonly PartitionOffset[]): string {
  return offsets
    .map(({ topic, partition, offset }) => `${topic}/${partition}/${offset}`)
    .sort()
    .join(' ');
}

function judged(error: LibrdKafkaError): CdrhouseError {
  if (NOT_OWNER.has(error.code)) return new OwnershipLost(error);
  return new CdrhouseError('KAFKA_UNREACHABLE', `a commit failed: ${error.message}`, error);
}
