import type { Test } from 'tap';
import { createTopic, Observer } from '../fault/topic.ts';

/** A topic of one partition, and what was sent to it. */
export class TopicLines {
  readonly #observer: Observer;
  readonly #topic: string;

  private constructor(observer: Observer, topic: string) {
    this.#observer = observer;
    this.#topic = topic;
  }

  static async create(
    t: Test,
    brokers: string,
    topic: string,
    config: Readonly<Record<string, string>> = {},
  ): Promise<TopicLines> {
    await createTopic(brokers, topic, { partitions: 1, config });
    return TopicLines.of(t, brokers, topic);
  }

  static async of(t: Test, brokers: string, topic: string): Promise<TopicLines> {
    return new TopicLines(await Observer.connect(t, brokers, `lines-of-${topic}`), topic);
  }

  /** Every message, in order. */
  async messages(): Promise<string[]> {
    const [log] = await this.#observer.logs(this.#topic);
    if (log === undefined || log.high === log.low) return [];
    return (await this.#observer.read(this.#topic, log)).map(({ value }) => value.toString('latin1'));
  }

  /** Every line, in order, without its newline; each message begins a new line. */
  async lines(): Promise<string[]> {
    const messages = await this.messages();
    return messages.flatMap((message) => message.replace(/\n$/, '').split('\n'));
  }

  /** How often each line was sent. */
  async counts(): Promise<Map<string, number>> {
    const counts = new Map<string, number>();
    for (const line of await this.lines()) counts.set(line, (counts.get(line) ?? 0) + 1);
    return counts;
  }
}

/** Lines that are all different. */
export function numbered(name: string, count: number, from = 0): string[] {
  return Array.from(
    { length: count },
    (_, i) => `+33199000001,,+33199000002,2026-03-01T10:00:00Z,${i % 60},,${name}-${from + i}`,
  );
}

export function text(lines: readonly string[]): string {
  return lines.map((line) => `${line}\n`).join('');
}

/** What differs between the lines that were sent and those that should have been; both sides empty: nothing does. */
export function difference(
  sent: Iterable<string>,
  wanted: Iterable<string>,
): { missing: string[]; unwanted: string[] } {
  const [sentSet, wantedSet] = [new Set(sent), new Set(wanted)];
  return {
    missing: [...wantedSet].filter((line) => !sentSet.has(line)).slice(0, 5),
    unwanted: [...sentSet].filter((line) => !wantedSet.has(line)).slice(0, 5),
  };
}
