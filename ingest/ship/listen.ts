import { CdrhouseError } from '../../schemas/errors.ts';
import { formatOf } from '../../schemas/formats/feed-format.ts';
import { findFeed } from '../../schemas/feed.ts';
import type { Settings } from '../../schemas/settings.ts';
import type { Collector, ListenSummary } from './collector.ts';
import { connectWaiting, giveUpAfter } from './kafka-waiting.ts';
import { newHead } from './head.ts';
import { listenHttp } from './listen-http.ts';
import { listenTcp } from './listen-tcp.ts';
import { ShipMetrics } from './metrics.ts';
import type { Producer } from './producer.ts';

/** How long Kafka is waited for at the end. */
const DRAIN_MS = 15_000;
/** How often Kafka is asked whether it answers. */
const PROBE_MS = 1000;
/** Bytes that were taken from TCP connections and are not acknowledged yet; beyond, nothing is read from them. */
const TCP_UNACKNOWLEDGED_BYTES_MAX = 1_048_576;

export interface ListenOptions {
  readonly settings: Settings;
  readonly feed: string | undefined;
  /** `http://HOST:PORT[/path]` or `tcp://HOST:PORT`; port 0: any free one. */
  readonly address: string;
  readonly stop: AbortSignal;
  readonly report: (error: CdrhouseError) => void;
  readonly say: (text: string) => void;
}

/**
 * Takes what switches send over HTTP or TCP, until `stop`. Throws USAGE_WRONG, FEED_UNKNOWN, ADDRESS_UNUSABLE, and
 * KAFKA_UNREACHABLE where the last lines of TCP connections were not acknowledged in time.
 */
export async function runListen(options: ListenOptions): Promise<ListenSummary> {
  const began = performance.now();
  const { settings, stop, say } = options;
  const url = listenAddress(options.address);
  const feed = findFeed(settings.feeds, options.feed);
  const metrics = new ShipMetrics();
  const summary: ListenSummary = {
    feed: feed.name,
    topic: feed.topic,
    connections: 0,
    requests: {},
    lines: 0,
    messages: 0,
    bytes: 0,
    too_long: 0,
    cut_lines: 0,
    seconds: 0,
  };
  const isHttp = url.protocol === 'http:';
  const giveUp = giveUpAfter(stop, DRAIN_MS);
  let producer: Producer | undefined;
  let ready = false;
  const setReady = (now: boolean): void => {
    if (ready !== now) say(now ? 'Kafka answers' : 'Kafka does not answer; nothing is taken until it does');
    ready = now;
    metrics.setReady(now);
  };
  const connect = async (): Promise<void> => {
    producer = await connectWaiting({ settings, feed, stop }, say, giveUp, {
      // A switch that sends over HTTP gets an answer and tries again; one on TCP gets none, so Kafka is waited for.
      deliveryTimeoutMs: isHttp ? settings.ship.listen_ack_s * 1000 : 0,
      unacknowledgedBytesMax: TCP_UNACKNOWLEDGED_BYTES_MAX,
    });
    if (producer !== undefined) setReady(true);
  };
  const failure = new AbortController();
  const format = formatOf(feed);
  const collector: Collector = {
    settings,
    feed,
    summary,
    metrics,
    stop,
    say,
    producer: () => producer,
    ready: () => ready,
    unready: () => setReady(false),
    fail: (error) => failure.abort(error),
    newHead: () => newHead(format),
    tooLong: (from, { line, bytes }) => {
      summary.too_long++;
      metrics.tooLong();
      options.report(
        new CdrhouseError('RECORD_TOO_LONG', `${from}: line ${line} has ${bytes} bytes and was not sent`),
      );
    },
  };
  const listener = await (isHttp ? listenHttp : listenTcp)(collector, url);
  const connecting = connect().catch((error: unknown) => failure.abort(error));
  const probing = setInterval(() => void producer?.answers(feed.topic).then(setReady), PROBE_MS);
  try {
    say(`listening on ${listener.address} for feed ${feed.name}`);
    await Promise.race([aborted(stop), aborted(failure.signal)]);
    failure.signal.throwIfAborted();
    await listener.close();
    await producer?.flush();
  } finally {
    clearInterval(probing);
    await listener.close();
    await connecting;
    await producer?.close();
    summary.messages = producer?.messages ?? 0;
    summary.bytes = producer?.bytes ?? 0;
  }
  summary.seconds = Math.round(performance.now() - began) / 1000;
  return summary;
}

function listenAddress(text: string): URL {
  const allowed = 'allowed: http://HOST:PORT[/path] or tcp://HOST:PORT';
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url === undefined || !['http:', 'tcp:'].includes(url.protocol) || url.hostname === '')
    throw new CdrhouseError('USAGE_WRONG', `--listen ${text}: ${allowed}`);
  // The URL class leaves out the port that its protocol has by default.
  if (url.port === '' && !/:80(\/|$)/.test(text))
    throw new CdrhouseError('USAGE_WRONG', `--listen ${text}: the port is missing; ${allowed}`);
  if (
    url.search !== '' ||
    url.username !== '' ||
    (url.protocol === 'tcp:' && !['', '/'].includes(url.pathname))
  )
    throw new CdrhouseError('USAGE_WRONG', `--listen ${text}: ${allowed}`);
  return url;
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve(), { once: true });
  });
}
