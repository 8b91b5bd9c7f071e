import { once } from 'node:events';
import {
  Agent,
  createServer,
  type IncomingHttpHeaders,
  type IncomingMessage,
  request,
  type Server,
  type ServerResponse,
} from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Test } from 'tap';

/** What ClickHouse answered, or what a test answers in its place. */
export interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: Buffer;
}

/** Changes to a request on its way to the server. */
export interface Change {
  readonly headers?: Readonly<Record<string, string>>;
  readonly parameters?: Readonly<Record<string, string>>;
  /** The server sees it when the client goes away; else what was sent is done to its end. */
  readonly whileClientIsThere?: boolean;
}

/** A range that an insert into the ledger speaks of; a claim has no length. */
export interface LedgerInsertRow {
  readonly topic: string;
  readonly partition: number;
  readonly generation: number;
  readonly from_offset: number;
  readonly next_offset: number;
  readonly instance: string;
}

/** One request, read whole, with its answer still open. */
export class Exchange {
  /** Begin of the SQL: the client sends it as a parameter beside inserted data, in a form beside bound values, else as the body. */
  readonly statement: string;
  /** Table of an INSERT, without its database; empty for anything else. */
  readonly table: string;
  readonly url: string;
  readonly body: Buffer;
  /** True once the client has closed its connection. */
  gone = false;
  readonly #incoming: IncomingMessage;
  readonly #outgoing: ServerResponse;
  readonly #target: URL;
  readonly #agent: Agent;

  constructor(incoming: IncomingMessage, outgoing: ServerResponse, body: Buffer, target: URL, agent: Agent) {
    this.#incoming = incoming;
    this.#outgoing = outgoing;
    this.#target = target;
    this.#agent = agent;
    this.body = body;
    this.url = incoming.url ?? '/';
    const parameters = new URL(this.url, target).searchParams;
    this.statement = (parameters.get('query') ?? queryOfForm(body) ?? textOf(body)).trimStart();
    this.table = /^INSERT INTO \S+?\.(\w+)/.exec(this.statement)?.[1] ?? '';
    outgoing.once('close', () => (this.gone = !outgoing.writableFinished));
  }

  /** Rows of an insert into the ledger, without claims. */
  get ranges(): LedgerInsertRow[] {
    if (this.table !== 'ingest_ledger') return [];
    return this.body
      .toString()
      .split('\n')
      .filter((line) => line.trim() !== '')
      .map((line) => JSON.parse(line) as LedgerInsertRow)
      .filter(({ from_offset, next_offset }) => next_offset > from_offset);
  }

  /** Sends the request on and gives the server's answer, which the client does not see yet. */
  async forward(change: Change = {}): Promise<Answer> {
    const sent = this.#open(change);
    const answered = once(sent, 'response') as Promise<[IncomingMessage]>;
    sent.end(this.body);
    const [response] = await answered;
    return { status: response.statusCode!, headers: response.headers, body: await readAll(response) };
  }

  /** Sends a part of the body and leaves the request open. */
  async forwardPart(share: number): Promise<void> {
    const sent = this.#open({});
    // The server or the test ends it.
    sent.on('error', () => undefined);
    sent.on('response', (response) => response.resume());
    await new Promise<void>((resolve) => {
      sent.write(this.body.subarray(0, Math.floor(this.body.length * share)), () => resolve());
    });
  }

  answer({ status, headers, body }: Answer): void {
    if (this.gone) return;
    const passed = Object.entries(headers).filter(
      ([name]) => !['connection', 'keep-alive', 'transfer-encoding', 'content-length'].includes(name),
    );
    this.#outgoing.writeHead(status, Object.fromEntries(passed));
    this.#outgoing.end(body);
  }

  /** An answer as ClickHouse gives it for an error. */
  refuse(code: number, type: string, status = 500): void {
    this.answer({
      status,
      headers: { 'x-clickhouse-exception-code': String(code), 'content-type': 'text/plain; charset=UTF-8' },
      body: Buffer.from(`Code: ${code}. DB::Exception: made by a test. (${type}) (version 26.7.3.1)\n`),
    });
  }

  /** Gives the beginning of an answer and breaks the connection, as a server does that dies. */
  async answerPart({ status, headers, body }: Answer, share: number): Promise<void> {
    const type = headers['content-type'];
    this.#outgoing.writeHead(status, type === undefined ? {} : { 'content-type': type });
    const part = body.subarray(0, Math.floor(body.length * share));
    await new Promise<void>((resolve) => {
      this.#outgoing.write(part, () => resolve());
    });
    this.cut();
  }

  /** Breaks the connection without an answer. */
  cut(): void {
    this.#outgoing.socket?.resetAndDestroy();
  }

  #open({ headers, parameters, whileClientIsThere }: Change): ReturnType<typeof request> {
    const url = new URL(this.url, this.#target);
    for (const [name, value] of Object.entries(parameters ?? {})) url.searchParams.set(name, value);
    const passed = Object.fromEntries(
      Object.entries(this.#incoming.headers).filter(
        ([name]) => !['connection', 'transfer-encoding', 'content-length', 'host'].includes(name),
      ),
    );
    const sent = request(url, {
      method: this.#incoming.method ?? 'GET',
      agent: this.#agent,
      headers: { ...passed, ...headers, 'content-length': this.body.length },
    });
    if (whileClientIsThere === true) this.#outgoing.once('close', () => sent.destroy());
    return sent;
  }
}

const textOf = (body: Buffer): string => body.toString('utf8', 0, 4096);

/** The SQL in the form of a request that binds values. */
function queryOfForm(body: Buffer): string | undefined {
  return /^--.*\r\n.*name="query"\r\n\r\n([^]*?)\r\n--/.exec(body.toString('utf8', 0, 65_536))?.[1];
}

export type Handler = (exchange: Exchange) => Promise<void>;

/** Says which exchanges a rule is for. */
export type Matches = (exchange: Exchange) => boolean;

/** Inserts into one of these tables; claims in the ledger are let through. */
export function insertsInto(...tables: string[]): Matches {
  return (exchange) =>
    tables.includes(exchange.table) && (exchange.table !== 'ingest_ledger' || exchange.ranges.length > 0);
}

/** A rule of the proxy. */
export interface Rule {
  /** How many exchanges it has met. */
  count(): number;
  remove(): void;
}

/** Exchanges that stand still. */
export interface Hold {
  /** The first one that stands still. */
  readonly reached: Promise<Exchange>;
  count(): number;
  /** Lets them go on, those of clients that are gone excepted; later ones pass. Gives the answers to those held. */
  release(): Promise<Answer[]>;
}

/**
 * A proxy between the programs under test and ClickHouse that knows each request by its statement. Without a
 * rule it passes everything on.
 */
export class ClickhouseProxy {
  readonly url: string;
  /** Tables of the inserts in the order in which the server answered them with success. */
  readonly inserted: string[] = [];
  /** Ledger ranges in the order in which the server took them. */
  readonly ranges: LedgerInsertRow[] = [];
  readonly #server: Server;
  readonly #target: URL;
  readonly #agent = new Agent({ keepAlive: true });
  readonly #rules: { matches: Matches; handler: Handler; left: number; met: number }[] = [];

  private constructor(server: Server, target: string) {
    this.#server = server;
    this.#target = new URL(target);
    this.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    server.on('request', (incoming, outgoing) => void this.#take(incoming, outgoing));
  }

  static async start(t: Test, target: string): Promise<ClickhouseProxy> {
    const server = createServer({ keepAliveTimeout: 60_000, requestTimeout: 0 });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const proxy = new ClickhouseProxy(server, target);
    t.teardown(() => proxy.#close());
    return proxy;
  }

  /** Number of batches that the ledger has taken. */
  get batches(): number {
    return this.inserted.filter((table) => table === 'ingest_ledger').length;
  }

  /** Hands the next `times` exchanges that match to `handler`; the rule added last comes first. */
  on(matches: Matches, handler: Handler, times = Infinity): Rule {
    const rule = { matches, handler, left: times, met: 0 };
    this.#rules.unshift(rule);
    return {
      count: () => rule.met,
      remove: () => {
        rule.left = 0;
      },
    };
  }

  /** Holds matching requests before they reach the server, or their answers after it has done them. */
  hold(when: 'before' | 'after', matches: Matches): Hold {
    let release!: () => void;
    const released = new Promise<void>((resolve) => (release = resolve));
    let reach!: (exchange: Exchange) => void;
    const reached = new Promise<Exchange>((resolve) => (reach = resolve));
    const answers: Promise<Answer | undefined>[] = [];
    const rule = this.on(matches, async (exchange) => {
      const early = when === 'after' ? await this.forward(exchange) : undefined;
      reach(exchange);
      const late = (async (): Promise<Answer | undefined> => {
        await released;
        return early ?? (exchange.gone ? undefined : await this.forward(exchange));
      })();
      answers.push(late);
      const answer = await late;
      if (answer !== undefined) exchange.answer(answer);
    });
    return {
      reached,
      count: () => rule.count(),
      release: async () => {
        rule.remove();
        release();
        const all = await Promise.all(answers);
        return all.filter((answer) => answer !== undefined);
      },
    };
  }

  /** Forwards, and notes what the server has taken. */
  async forward(exchange: Exchange, change?: Change): Promise<Answer> {
    const answer = await exchange.forward(change);
    // Heartbeats come by the clock, between any others.
    const { table } = exchange;
    if (
      answer.status === 200 &&
      !['', 'ingest_heartbeats', 'ingest_writers'].includes(table) &&
      insertsInto(table)(exchange)
    ) {
      this.inserted.push(table);
      this.ranges.push(...exchange.ranges);
    }
    return answer;
  }

  async #take(incoming: IncomingMessage, outgoing: ServerResponse): Promise<void> {
    let exchange: Exchange | undefined;
    try {
      const body = await readAll(incoming);
      exchange = new Exchange(incoming, outgoing, body, this.#target, this.#agent);
      await this.#handler(exchange)(exchange);
    } catch {
      // A side that is gone; the other one must see it too.
      outgoing.socket?.destroy();
    }
  }

  #handler(exchange: Exchange): Handler {
    const rule = this.#rules.find(({ left, matches }) => left > 0 && matches(exchange));
    if (rule === undefined) return async (passing) => passing.answer(await this.forward(passing));
    rule.left--;
    rule.met++;
    return rule.handler;
  }

  #close(): void {
    this.#server.close();
    this.#server.closeAllConnections();
    this.#agent.destroy();
  }
}

async function readAll(stream: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of stream) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}
