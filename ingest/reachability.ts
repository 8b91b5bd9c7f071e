import { setTimeout as sleep } from 'node:timers/promises';

/** The servers that ingest needs. */
export const SERVERS = ['kafka', 'clickhouse'] as const;
export type ServerName = (typeof SERVERS)[number];

/** Asks a server and says whether it answered; undefined while it is not yet this server's turn. Bounds itself. */
export type Probe = () => Promise<boolean | undefined>;

export interface ServerState {
  /** `unknown`: not asked yet, or not for a while. */
  readonly state: 'reachable' | 'unreachable' | 'unknown';
  /** When it became so, ISO 8601. */
  readonly since: string;
}

/** What /readyz says. */
export interface Readiness {
  /** True while reading, with both servers reachable. */
  readonly ready: boolean;
  /** False before the consumer has connected, and when it has failed. */
  readonly reading: boolean;
  readonly kafka: ServerState;
  readonly clickhouse: ServerState;
}

/** What /readyz of several processes says: the worst of them. */
export interface GroupReadiness extends Readiness {
  readonly processes: { readonly wanted: number; readonly answering: number };
}

const INTERVAL_MS = 1000;
/** Until a server's turn has come. */
const FIRST_INTERVAL_MS = 100;
/** An answer older than this says nothing about now, as after a stop of the process. */
const STALE_MS = 10_000;

interface Seen {
  state: ServerState['state'];
  sinceMs: number;
  checkedAtMs: number;
}

/**
 * Asks Kafka and ClickHouse now and then and remembers what they answered, so that whoever wants to know gets an
 * answer at once, also while a server does not answer at all.
 */
export class Reachability {
  readonly #probes: Readonly<Record<ServerName, Probe>>;
  readonly #stop = new AbortController();
  readonly #seen: Readonly<Record<ServerName, Seen>>;

  constructor(probes: Readonly<Record<ServerName, Probe>>) {
    this.#probes = probes;
    this.#seen = { kafka: notSeen(), clickhouse: notSeen() };
  }

  start(): void {
    for (const server of SERVERS) void this.#watch(server);
  }

  /** Ends the asking; a probe that is under way ends by itself. */
  stop(): void {
    this.#stop.abort();
  }

  /** @param reading whether messages are being read */
  readiness(reading: boolean): Readiness {
    const kafka = this.#stateOf('kafka');
    const clickhouse = this.#stateOf('clickhouse');
    return { ready: reading && bothReachable({ kafka, clickhouse }), reading, kafka, clickhouse };
  }

  async #watch(server: ServerName): Promise<void> {
    const { signal } = this.#stop;
    while (!signal.aborted) {
      const beganMs = Date.now();
      const answered = await this.#probes[server]().catch(() => false);
      if (answered !== undefined) this.#note(server, answered ? 'reachable' : 'unreachable', beganMs);
      const pauseMs = answered === undefined ? FIRST_INTERVAL_MS : INTERVAL_MS;
      // Rejects when stopped.
      await sleep(pauseMs, undefined, { signal, ref: false }).catch(() => undefined);
    }
  }

  #note(server: ServerName, state: ServerState['state'], beganMs: number): void {
    const seen = this.#seen[server];
    seen.checkedAtMs = Date.now();
    if (seen.state === state) return;
    seen.state = state;
    seen.sinceMs = beganMs;
  }

  #stateOf(server: ServerName): ServerState {
    const { state, sinceMs, checkedAtMs } = this.#seen[server];
    if (state !== 'unknown' && Date.now() - checkedAtMs > STALE_MS)
      return { state: 'unknown', since: new Date(checkedAtMs).toISOString() };
    return { state, since: new Date(sinceMs).toISOString() };
  }
}

function notSeen(): Seen {
  return { state: 'unknown', sinceMs: Date.now(), checkedAtMs: Date.now() };
}

/** Puts the answers of several processes together. */
export function worstReadiness(answers: readonly Readiness[], wanted: number): GroupReadiness {
  const worst = (server: ServerName): ServerState =>
    answers
      .map((answer) => answer[server])
      .reduce((a, b) => worse(a, b), { state: 'reachable', since: new Date(0).toISOString() });
  const isComplete = answers.length === wanted;
  const missing = { state: 'unknown', since: new Date().toISOString() } as const;
  return {
    ready: isComplete && answers.every(({ ready }) => ready),
    reading: isComplete && answers.every(({ reading }) => reading),
    kafka: answers.length === 0 ? missing : worst('kafka'),
    clickhouse: answers.length === 0 ? missing : worst('clickhouse'),
    processes: { wanted, answering: answers.length },
  };
}

/** The worse state; of two that are equal the earlier one, but of two that are reachable the later one. */
function worse(a: ServerState, b: ServerState): ServerState {
  const rank = { reachable: 0, unknown: 1, unreachable: 2 };
  if (a.state !== b.state) return rank[a.state] > rank[b.state] ? a : b;
  return a.since < b.since === (a.state === 'reachable') ? b : a;
}

function bothReachable(states: Readonly<Record<ServerName, ServerState>>): boolean {
  return SERVERS.every((server) => states[server].state === 'reachable');
}
