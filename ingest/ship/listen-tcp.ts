import { createServer, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { openServer, type Collector, type Listener } from './collector.ts';
import { LinePacker } from './line-packer.ts';
import { lineBytesMax } from './producer.ts';

/** A line waits no longer than this for others. */
const FLUSH_MS = 200;
const KEEP_ALIVE_MS = 60_000;
/** What a switch has sent before the end is still read for so long. */
const LAST_WORDS_MS = 300;
const KAFKA_WAIT_MS = 100;

/**
 * Takes lines from TCP connections. There is no answer in these protocols, so nothing is read while Kafka does not take
 * what was read before: the switch waits, or buffers. Throws ADDRESS_UNUSABLE.
 */
export async function listenTcp(collector: Collector, url: URL): Promise<Listener> {
  const reading = new Set<Promise<void>>();
  const sockets = new Set<Socket>();
  const server = createServer({ keepAlive: true, keepAliveInitialDelay: KEEP_ALIVE_MS }, (socket) => {
    const from = socket.remoteAddress ?? 'a connection';
    collector.say(`${from} has connected`);
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
    const read = readLines(collector, socket, from).finally(() => reading.delete(read));
    reading.add(read);
  });
  const port = await openServer(server, collector, url, 'let only the switch through to it');
  let closed: Promise<void> | undefined;
  const close = async (): Promise<void> => {
    server.close();
    await sleep(sockets.size === 0 ? 0 : LAST_WORDS_MS);
    for (const socket of sockets) socket.destroy();
    await Promise.all(reading);
  };
  return {
    address: `tcp://${url.hostname}:${port}`,
    close: () => (closed ??= close()),
  };
}

/** Sends the lines of a connection until it ends. */
async function readLines(collector: Collector, socket: Socket, from: string): Promise<void> {
  const { settings, summary } = collector;
  const packer = new LinePacker(settings.ship.message_bytes_max, {
    lineBytesMax: lineBytesMax(settings),
    head: collector.newHead(),
    tooLong: (line) => collector.tooLong(from, line),
  });
  socket.setTimeout(settings.ship.listen_idle_s * 1000, () => {
    socket.destroy(new Error(`nothing came for ${settings.ship.listen_idle_s} s`));
  });
  const sendNow = async (messages: Buffer[], lines: number): Promise<void> => {
    for (const message of messages) await collector.producer()!.send(collector.feed.topic, message);
    summary.lines += lines;
    collector.metrics.linesSent(lines);
  };
  // One after the other: the timer and the chunks send in the order of the lines.
  let sending: Promise<void> = Promise.resolve();
  const send = (pack: () => Buffer[]): Promise<void> => {
    const before = packer.lines;
    const messages = pack();
    const lines = packer.lines - before;
    sending = sending.then(() => sendNow(messages, lines));
    return sending;
  };
  let failure: unknown;
  const flushing = setInterval(() => {
    if (packer.heldBytes > 0)
      send(() => packer.flush()).catch((error: unknown) => socket.destroy(error as Error));
  }, FLUSH_MS);
  try {
    await untilKafka(collector);
    for await (const chunk of socket) await send(() => packer.add(chunk as Buffer));
    // The switch has ended the connection in order: its last line may lack its newline.
    await send(() => packer.finish());
  } catch (error) {
    failure = error;
  } finally {
    clearInterval(flushing);
  }
  if (failure === undefined) {
    collector.say(`${from} has ended its connection`);
    return;
  }
  try {
    await send(() => packer.flush());
  } catch (error) {
    // Kafka refuses for good: there is no use in listening on.
    collector.fail(error);
  }
  const cut = packer.heldBytes + packer.passedBytes;
  if (cut > 0) summary.cut_lines++;
  const cutText = cut > 0 ? `; ${cut} bytes of a line that had not ended were not sent` : '';
  if (!collector.stop.aborted || cut > 0)
    collector.say(`${from}: the connection is broken (${(failure as Error).message})${cutText}`);
}

async function untilKafka({ producer, stop }: Collector): Promise<void> {
  while (producer() === undefined) {
    if (stop.aborted) throw new Error('Kafka was not there');
    await sleep(KAFKA_WAIT_MS);
  }
}
