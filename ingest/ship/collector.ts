import type { AddressInfo, Server } from 'node:net';
import { CdrhouseError } from '../../schemas/errors.ts';
import type { FeedSettings, Settings } from '../../schemas/settings.ts';
import type { HeadReader, LongLine } from './line-packer.ts';
import type { ShipMetrics } from './metrics.ts';
import type { Producer } from './producer.ts';

export interface ListenSummary {
  readonly feed: string;
  readonly topic: string;
  connections: number;
  /** HTTP requests by status of their answer. */
  readonly requests: Record<string, number>;
  /** Lines that Kafka has acknowledged, or documents. */
  lines: number;
  messages: number;
  bytes: number;
  /** Lines that are longer than a message may be, and were not sent. */
  too_long: number;
  /** Connections that broke in the middle of a line, which was not sent. */
  cut_lines: number;
  seconds: number;
}

/** What both kinds of listeners use. */
export interface Collector {
  readonly settings: Settings;
  readonly feed: FeedSettings;
  readonly summary: ListenSummary;
  readonly metrics: ShipMetrics;
  readonly stop: AbortSignal;
  readonly say: (text: string) => void;
  /** Undefined until Kafka was reached for the first time. */
  readonly producer: () => Producer | undefined;
  /** Whether Kafka answers, as far as is known. */
  readonly ready: () => boolean;
  /** A delivery failed: asks Kafka anew before the next one is tried. */
  readonly unready: () => void;
  /** Ends listening with an error. */
  readonly fail: (error: unknown) => void;
  readonly tooLong: (from: string, line: LongLine) => void;
  /** What the feed's format needs from the head of what one connection or one request sends. */
  readonly newHead: () => HeadReader | undefined;
}

export interface Listener {
  /** With the port that was taken. */
  readonly address: string;
  /** Takes nothing new, and ends when what was taken is handed over. */
  readonly close: () => Promise<void>;
}

/**
 * Has a server take connections at an address, bounded and counted, and warns where others than this host reach it.
 * Gives the port that was taken. Throws ADDRESS_UNUSABLE.
 * @param warning what an operator should do there; undefined: nothing
 */
export async function openServer(
  server: Server,
  { settings, summary, metrics, say }: Collector,
  url: URL,
  warning: string | undefined,
): Promise<number> {
  const count = (): void => {
    server.getConnections((error, connections) => {
      if (!error) metrics.setConnections(connections);
    });
  };
  server.maxConnections = settings.ship.listen_connections_max;
  server.on('drop', () => metrics.connectionRefused());
  server.on('connection', (socket) => {
    summary.connections++;
    count();
    socket.once('close', count);
  });
  // An IPv6 address without its brackets; the URL class leaves out the port that http has by default.
  const host = url.hostname.replace(/^\[(.*)\]$/, '$1');
  const port = url.port === '' ? 80 : Number(url.port);
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) =>
      reject(new CdrhouseError('ADDRESS_UNUSABLE', `${host}:${port}: ${error.message}`, error)),
    );
    server.listen(port, host, () => resolve());
  });
  const isLoopback = /^(localhost|127\.[0-9.]+|\[?::1\]?)$/.test(url.hostname);
  if (!isLoopback && warning !== undefined)
    say(`anyone who reaches this address can send records: ${warning}`);
  return (server.address() as AddressInfo).port;
}
