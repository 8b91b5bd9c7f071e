const LINE_FEED = 0x0a;

/**
 * Packs the lines of a stream into messages: whole lines only, as many as fit into `bytesMax`. A line that is
 * longer goes alone. Pure: chunks in, messages out.
 */
export class LinePacker {
  /** Lines packed so far. */
  lines = 0;
  readonly #bytesMax: number;
  /** Bytes behind the last message: whole lines, then perhaps a part of one. */
  #rest: Buffer = Buffer.alloc(0);

  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax;
  }

  /** The messages that are complete after this chunk. */
  add(chunk: Uint8Array): Buffer[] {
    this.#rest = this.#rest.length === 0 ? Buffer.from(chunk) : Buffer.concat([this.#rest, chunk]);
    const messages: Buffer[] = [];
    while (this.#rest.length > this.#bytesMax) {
      const end = this.#messageEnd();
      if (end === 0) break;
      messages.push(this.#take(end));
    }
    return messages;
  }

  /** What is left; the last line may lack its newline. */
  finish(): Buffer[] {
    const messages: Buffer[] = [];
    while (this.#rest.length > 0) {
      const end = this.#rest.length <= this.#bytesMax ? this.#rest.length : this.#messageEnd();
      messages.push(this.#take(end === 0 ? this.#rest.length : end));
    }
    return messages;
  }

  /** Behind the last newline within the bound, or behind the first line where that is longer; 0: not there yet. */
  #messageEnd(): number {
    const within = this.#rest.lastIndexOf(LINE_FEED, this.#bytesMax - 1);
    return (within >= 0 ? within : this.#rest.indexOf(LINE_FEED)) + 1;
  }

  #take(end: number): Buffer {
    const message = Buffer.from(this.#rest.subarray(0, end));
    this.#rest = this.#rest.subarray(end);
    this.lines += countLines(message);
    return message;
  }
}

/** Lines of a message that are not empty. */
function countLines(message: Buffer): number {
  let lines = 0;
  for (let from = 0; from < message.length;) {
    const found = message.indexOf(LINE_FEED, from);
    const end = found < 0 ? message.length : found;
    if (end - from > 1 || (end - from === 1 && message[from] !== 0x0d)) lines++;
    from = end + 1;
  }
  return lines;
}
