const LINE_FEED = 0x0a;
const CARRIAGE_RETURN = 0x0d;

/** A line that no message can hold. */
export interface LongLine {
  /** Number of the line in its stream, from 1; empty lines count. */
  readonly line: number;
  readonly bytes: number;
}

/**
 * What a format needs from the head of its file, so that each message can be read alone. Told every line in order,
 * without its newline; `read` says whether it belongs to a head, `bytes` is the head as of now, with its newlines.
 */
export interface HeadReader {
  read(line: Uint8Array): boolean;
  bytes(): Uint8Array;
}

export interface LinePackerOptions {
  /** Longest line that is sent, in bytes; longer ones are passed over and told to `tooLong`. @default Infinity */
  readonly lineBytesMax?: number;
  /** @default 0 */
  readonly linesBefore?: number;
  /** The stream begins inside a line of which so many bytes were passed over. @default 0 */
  readonly passedBytes?: number;
  readonly head?: HeadReader | undefined;
  readonly tooLong?: (line: LongLine) => void;
}

/**
 * Packs the lines of a stream into messages: whole lines only, as many as fit into `bytesMax`. A line that is
 * longer goes alone, one beyond `lineBytesMax` not at all. Where the format has a head, each message begins with it.
 * Holds no more than the longer bound and one chunk. Pure: chunks in, messages out.
 */
export class LinePacker {
  /** Lines packed so far that are not empty; repeated heads do not count. */
  lines = 0;
  /** Newlines passed so far, those before the stream included. */
  newlines: number;
  /** Messages of one line that is longer than the bound. */
  readonly alone = new WeakMap<Buffer, LongLine>();
  readonly #bytesMax: number;
  readonly #options: LinePackerOptions;
  readonly #lineBytesMax: number;
  /** Bytes behind the last message: whole lines, then perhaps a part of one. */
  #rest: Buffer = Buffer.alloc(0);
  /** Bytes of the line that is being passed over; 0: none is. */
  #passed: number;

  constructor(bytesMax: number, options: LinePackerOptions = {}) {
    this.#bytesMax = bytesMax;
    this.#options = options;
    this.#lineBytesMax = options.lineBytesMax ?? Infinity;
    this.newlines = options.linesBefore ?? 0;
    this.#passed = options.passedBytes ?? 0;
  }

  /** Bytes of a line that is too long and has not ended yet, all passed over; 0: there is none. */
  get passedBytes(): number {
    return this.#passed;
  }

  /** Bytes that are held back. */
  get heldBytes(): number {
    return this.#rest.length;
  }

  /** The messages that are complete after this chunk. */
  add(chunk: Uint8Array): Buffer[] {
    let bytes = Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength);
    if (this.#passed > 0) {
      const end = bytes.indexOf(LINE_FEED);
      if (end < 0) {
        this.#passed += bytes.length;
        return [];
      }
      this.#tellTooLong(this.#passed + end);
      this.#passed = 0;
      this.newlines++;
      bytes = bytes.subarray(end + 1);
    }
    // A copy: the caller may use the chunk's memory again.
    this.#rest = Buffer.concat([this.#rest, bytes]);
    const messages: Buffer[] = [];
    while (this.#rest.length > this.#room()) {
      const end = this.#messageEnd();
      if (end === 0) {
        if (this.#rest.length <= this.#lineBytesMax) break;
        this.#passed = this.#rest.length;
        this.#rest = Buffer.alloc(0);
        break;
      }
      this.#take(end, messages);
    }
    return messages;
  }

  /** The whole lines that wait for a message to fill. */
  flush(): Buffer[] {
    const messages: Buffer[] = [];
    this.#takeAll(this.#rest.lastIndexOf(LINE_FEED) + 1, messages);
    return messages;
  }

  /** What is left; the last line may lack its newline. */
  finish(): Buffer[] {
    const messages: Buffer[] = [];
    if (this.#passed > 0) this.#tellTooLong(this.#passed);
    this.#passed = 0;
    this.#takeAll(this.#rest.length, messages);
    return messages;
  }

  #takeAll(bytes: number, messages: Buffer[]): void {
    for (let left = bytes; left > 0;) {
      const end = left <= this.#room() ? left : this.#messageEnd();
      const taken = end === 0 || end > left ? left : end;
      this.#take(taken, messages);
      left -= taken;
    }
  }

  /** Bytes of lines that fit into a message beside the head. */
  #room(): number {
    return Math.max(1, this.#bytesMax - (this.#options.head?.bytes().length ?? 0));
  }

  /** Behind the last newline within the bound, or behind the first line where that is longer; 0: not there yet. */
  #messageEnd(): number {
    const within = this.#rest.lastIndexOf(LINE_FEED, this.#room() - 1);
    return (within >= 0 ? within : this.#rest.indexOf(LINE_FEED)) + 1;
  }

  /** Takes lines out of the rest, and makes a message of them, or more where a new head stands between them. */
  #take(end: number, messages: Buffer[]): void {
    const taken = this.#rest.subarray(0, end);
    this.#rest = this.#rest.subarray(end);
    const { head } = this.#options;
    // Longer than a message ought to be: then it is one line.
    const alone =
      end > this.#room()
        ? { line: this.newlines + 1, bytes: taken[end - 1] === LINE_FEED ? end - 1 : end }
        : undefined;
    let messageFrom = 0;
    for (let from = 0; from < taken.length;) {
      const found = taken.indexOf(LINE_FEED, from);
      const lineEnd = found < 0 ? taken.length : found;
      const next = found < 0 ? taken.length : found + 1;
      const long = lineEnd - from > this.#lineBytesMax;
      const before = head?.bytes();
      if (long || head?.read(taken.subarray(from, lineEnd)) === true) {
        this.#push(taken.subarray(messageFrom, from), before, messages);
        messageFrom = next;
        if (long) this.#tellTooLong(lineEnd - from);
        else this.lines++;
      } else if (lineEnd - from > 1 || (lineEnd - from === 1 && taken[from] !== CARRIAGE_RETURN)) {
        this.lines++;
      }
      if (found >= 0) this.newlines++;
      from = next;
    }
    const last = this.#push(taken.subarray(messageFrom), head?.bytes(), messages);
    if (last !== undefined && alone !== undefined) this.alone.set(last, alone);
  }

  #push(lines: Buffer, head: Uint8Array | undefined, messages: Buffer[]): Buffer | undefined {
    if (lines.length === 0) return undefined;
    const message = Buffer.concat(head === undefined ? [lines] : [head, lines]);
    messages.push(message);
    return message;
  }

  #tellTooLong(bytes: number): void {
    this.#options.tooLong?.({ line: this.newlines + 1, bytes });
  }
}
