import { setImmediate as nextTurn } from 'node:timers/promises';

/**
 * A question to the database whose answer is the same for all requests. One is asked at a time; those who come
 * meanwhile, or in the same turn of the event loop, share the next one, so that nobody gets an answer that is older than his
 * request.
 */
export class AskedTogether<Answer> {
  readonly #question: () => Promise<Answer>;
  #running: Promise<Answer> | undefined;
  #next: Promise<Answer> | undefined;

  constructor(question: () => Promise<Answer>) {
    this.#question = question;
  }

  /** The answer to the question, asked after this call. Rejects as the question does. */
  ask(): Promise<Answer> {
    const start = (): Promise<Answer> => this.#start();
    this.#next ??= (this.#running ?? nextTurn()).then(start, start);
    return this.#next;
  }

  #start(): Promise<Answer> {
    this.#next = undefined;
    const running = this.#question().finally(() => {
      if (this.#running === running) this.#running = undefined;
    });
    this.#running = running;
    return running;
  }
}
