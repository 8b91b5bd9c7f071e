import type { LibrdKafkaError } from 'node-rdkafka';
import { CdrhouseError } from '../schemas/errors.ts';
import { OwnershipLost } from './lease.ts';

const ANSWER_MS_MAX = 10_000;

/** Answers by which the coordinator says that this member, or its generation, is not the current one. */
const NOT_OWNER = new Set([
  22, // ILLEGAL_GENERATION
  25, // UNKNOWN_MEMBER_ID
  27, // REBALANCE_IN_PROGRESS
  82, // FENCED_INSTANCE_ID
  -144, // _FATAL, after FENCED_INSTANCE_ID
  -172, // _STATE: no assignment
]);

interface Pending {
  readonly resolve: () => void;
  readonly reject: (error: Error) => void;
}

/** Commits that were sent and are not answered: librdkafka answers them in the order in which they were sent. */
export class PendingCommits {
  readonly #pending: Pending[] = [];

  /** Sends a commit and resolves when it was accepted. */
  send(start: () => void): Promise<void> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        reject(new CdrhouseError('KAFKA_UNREACHABLE', 'the coordinator does not answer a commit'));
      }, ANSWER_MS_MAX);
      const pending: Pending = {
        resolve: () => {
          clearTimeout(timer);
          resolve();
        },
        reject: (error) => {
          clearTimeout(timer);
          reject(error);
        },
      };
      try {
        start();
        this.#pending.push(pending);
      } catch (error) {
        pending.reject(judged(error as LibrdKafkaError));
      }
    });
  }

  /** librdkafka's answer to the oldest commit. */
  answered(error: LibrdKafkaError | null | undefined): void {
    const pending = this.#pending.shift();
    if (pending === undefined) return;
    if (error === null || error === undefined || error.code === 0) pending.resolve();
    else pending.reject(judged(error));
  }
}

function judged(error: LibrdKafkaError): CdrhouseError {
  if (NOT_OWNER.has(error.code)) return new OwnershipLost(error);
  return new CdrhouseError('KAFKA_UNREACHABLE', `a commit failed: ${error.message}`, error);
}
