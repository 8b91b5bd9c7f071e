import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import type { Test } from 'tap';

/** The protocol's number of the request by which a member of a group commits offsets. */
const OFFSET_COMMIT = 8;

/** Frames above this size are records, which name no broker. */
const FRAME_BYTES_MAX_WITH_ADDRESSES = 65_536;

/**
 * A proxy between the programs under test and a Kafka broker on 127.0.0.1. The broker tells its clients its own
 * address in metadata; the proxy writes its own port there, so that every connection comes through it.
 */
export class KafkaProxy {
  readonly brokers: string;
  readonly #targetPort: number;
  readonly #port: number;
  readonly #pairs = new Set<readonly [Socket, Socket]>();
  #open = true;
  /** What clients sent and the broker has not yet. */
  readonly #waiting: (readonly [Socket, Buffer])[] = [];
  #allowed = Infinity;
  /** Connections tried while the broker was out of reach. */
  refused = 0;
  /** Answers of the broker that were passed on. */
  answers = 0;
  /** Commits of offsets that were passed on. */
  commits = 0;
  #swallows = false;

  private constructor(server: Server, targetPort: number) {
    this.#targetPort = targetPort;
    this.#port = (server.address() as AddressInfo).port;
    this.brokers = `127.0.0.1:${this.#port}`;
    server.on('connection', (socket) => this.#connected(socket));
  }

  /** @param brokers address of the broker */
  static async start(t: Test, brokers: string): Promise<KafkaProxy> {
    const server = createServer();
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const proxy = new KafkaProxy(server, Number(brokers.split(':')[1]));
    t.teardown(() => {
      proxy.cut();
      server.close();
    });
    return proxy;
  }

  /** Breaks all connections and refuses new ones. */
  cut(): void {
    this.#open = false;
    for (const pair of this.#pairs) pair.forEach((socket) => socket.destroy());
  }

  heal(): void {
    this.#open = true;
  }

  /** Passes on so many bytes of clients, and those that come behind them when this is called again. */
  allow(bytes: number): void {
    this.#allowed = bytes;
    this.#pass();
  }

  /** Has the next commit of offsets come to nothing: the broker never hears of it. */
  swallowCommit(): void {
    this.#swallows = true;
  }

  #isSwallowed(request: Buffer): boolean {
    if (request.readInt16BE(4) !== OFFSET_COMMIT) return false;
    const isSwallowed = this.#swallows;
    this.#swallows = false;
    if (!isSwallowed) this.commits++;
    return isSwallowed;
  }

  #pass(): void {
    while (this.#allowed > 0) {
      const [first, ...others] = this.#waiting.splice(0);
      if (first === undefined) return;
      const [broker, bytes] = first;
      const passed = bytes.subarray(0, this.#allowed);
      this.#allowed -= passed.length;
      broker.write(passed);
      const rest = bytes.subarray(passed.length);
      this.#waiting.push(...(rest.length > 0 ? [[broker, rest] as const] : []), ...others);
    }
  }

  #connected(client: Socket): void {
    if (!this.#open) {
      this.refused++;
      client.resetAndDestroy();
      return;
    }
    const broker = connect(this.#targetPort, '127.0.0.1');
    const pair = [client, broker] as const;
    this.#pairs.add(pair);
    const end = (): void => {
      this.#pairs.delete(pair);
      pair.forEach((socket) => socket.destroy());
    };
    for (const socket of pair) {
      socket.setNoDelay(true);
      socket.on('error', end);
      socket.on('close', end);
    }
    const requests = new Frames();
    client.on('data', (chunk: Buffer) => {
      for (const request of requests.add(chunk))
        if (!this.#isSwallowed(request)) this.#waiting.push([broker, request]);
      this.#pass();
    });
    const frames = new Frames();
    broker.on('data', (chunk: Buffer) => {
      for (const frame of frames.add(chunk)) {
        client.write(this.#rewritten(frame));
        this.answers++;
      }
    });
  }

  /** A port is four bytes behind its host in every version of the protocol, so nothing changes its length. */
  #rewritten(frame: Buffer): Buffer {
    if (frame.length > FRAME_BYTES_MAX_WITH_ADDRESSES) return frame;
    const told = address(this.#targetPort);
    for (let at = frame.indexOf(told); at >= 0; at = frame.indexOf(told, at + told.length)) {
      address(this.#port).copy(frame, at);
    }
    return frame;
  }
}

function address(port: number): Buffer {
  const bytes = Buffer.from('127.0.0.1\0\0\0\0');
  bytes.writeInt32BE(port, 9);
  return bytes;
}

/** Cuts a stream into Kafka's frames: four bytes of length, then as many. */
class Frames {
  #rest: Buffer = Buffer.alloc(0);

  add(chunk: Buffer): Buffer[] {
    this.#rest = Buffer.concat([this.#rest, chunk]);
    const frames: Buffer[] = [];
    while (this.#rest.length >= 4) {
      const end = 4 + this.#rest.readInt32BE(0);
      if (this.#rest.length < end) break;
      frames.push(this.#rest.subarray(0, end));
      this.#rest = this.#rest.subarray(end);
    }
    return frames;
  }
}
