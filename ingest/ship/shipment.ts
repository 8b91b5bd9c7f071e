import { CdrhouseError } from '../../schemas/errors.ts';
import type { Format } from '../../schemas/formats/format.ts';
import { formatOf } from '../../schemas/formats/feed-format.ts';
import type { FeedSettings, Settings } from '../../schemas/settings.ts';
import { newHead } from './head.ts';
import type { HeadReader, LinePacker, LongLine } from './line-packer.ts';
import type { PlaceFile } from './place-file.ts';
import type { Producer } from './producer.ts';

/** Lines that are named in the summary; the others are counted. */
const LONG_LINES_NAMED = 100;

export interface ShipSummary {
  readonly feed: string;
  readonly topic: string;
  /** Files of which something was sent, or which were empty. */
  files: number;
  /** Files that were sent before, with the same content. */
  skipped_files: number;
  /** Files that could not be read, or not to their end. */
  failed_files: number;
  /** Lines that are not empty. */
  lines: number;
  messages: number;
  bytes: number;
  /** Lines that are longer than a message may be, and were not sent. */
  too_long: number;
  /** The first of them. */
  readonly too_long_lines: { readonly file: string; readonly line: number; readonly bytes: number }[];
  seconds: number;
}

/** What it takes to send to a feed. */
export interface ShipmentOptions {
  readonly settings: Settings;
  readonly feed: FeedSettings;
  readonly places: PlaceFile;
  readonly producer: Producer;
  readonly summary: ShipSummary;
  readonly stop: AbortSignal;
  /** Told what concerns one file or line only; the others go on. */
  readonly report: (error: CdrhouseError) => void;
  /** Told how many bytes of files have been read. */
  readonly progress?: ((bytes: number) => void) | undefined;
}

/** One run of `ship`: sends messages to the feed's topic and counts. */
export class Shipment {
  readonly settings: Settings;
  readonly feed: FeedSettings;
  readonly places: PlaceFile;
  readonly producer: Producer;
  readonly summary: ShipSummary;
  readonly stop: AbortSignal;
  readonly report: (error: CdrhouseError) => void;
  readonly #progress: ((bytes: number) => void) | undefined;
  readonly #format: Format;
  readonly #counted = new WeakMap<LinePacker, number>();
  #readBytes = 0;

  constructor(options: ShipmentOptions) {
    this.settings = options.settings;
    this.feed = options.feed;
    this.#format = formatOf(options.feed);
    this.places = options.places;
    this.producer = options.producer;
    this.summary = options.summary;
    this.stop = options.stop;
    this.report = options.report;
    this.#progress = options.progress;
  }

  /** What the feed's format needs from the head of a file; undefined where it needs nothing. */
  newHead(): HeadReader | undefined {
    return newHead(this.#format);
  }

  /**
   * Hands the messages of a packer over. A topic may take less than Kafka does by default: then a line that goes alone is
   * passed over like longer ones.
   */
  async send(file: string, packer: LinePacker, messages: readonly Buffer[]): Promise<void> {
    for (const message of messages) {
      const alone = packer.alone.get(message);
      const tooLarge = (): void => {
        this.summary.lines--;
        this.tooLong(file, alone!);
      };
      // Not in one batch with others, which would be refused with it.
      if (alone !== undefined) await this.producer.flush();
      await this.producer.send(this.feed.topic, message, alone && tooLarge);
      if (alone !== undefined) await this.producer.flush();
    }
    this.summary.lines += packer.lines - (this.#counted.get(packer) ?? 0);
    this.#counted.set(packer, packer.lines);
  }

  /** What the packer has packed so far is not sent. */
  passOver(packer: LinePacker): void {
    this.#counted.set(packer, packer.lines);
  }

  read(bytes: number): void {
    this.#readBytes += bytes;
    this.#progress?.(this.#readBytes);
  }

  tooLong(file: string, { line, bytes }: LongLine): void {
    const { summary } = this;
    summary.too_long++;
    if (summary.too_long > LONG_LINES_NAMED) return;
    summary.too_long_lines.push({ file, line, bytes });
    const more = summary.too_long === LONG_LINES_NAMED ? '; further ones are only counted' : '';
    this.report(
      new CdrhouseError(
        'RECORD_TOO_LONG',
        `${file}: line ${line} has ${bytes} bytes and was not sent${more}`,
      ),
    );
  }

  /** A file that could not be read, or not to its end. */
  failed(path: string, error: unknown): void {
    this.summary.failed_files++;
    this.report(
      error instanceof CdrhouseError
        ? error
        : new CdrhouseError('FILE_UNREADABLE', `${path}: ${(error as Error).message}`, error),
    );
  }
}
