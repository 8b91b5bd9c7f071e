import { LocalServerError } from './errors.ts';
import { type LocalServers, type LocalServersOptions, startLocalServers } from './local-servers.ts';
import { describeDeath } from './server-process.ts';

function say(line: string): void {
  process.stderr.write(`${line}\n`);
}

/** Resolves at the first SIGINT or SIGTERM; a second one ends the process, and the servers with it. */
function firstSignal(): { received: Promise<NodeJS.Signals>; forget: () => void } {
  const signals = ['SIGINT', 'SIGTERM'] as const;
  const { promise, resolve } = promiseWithResolver<NodeJS.Signals>();
  let count = 0;
  const listener = (signal: NodeJS.Signals): void => {
    count++;
    if (count > 1) process.exit(1);
    resolve(signal);
  };
  for (const signal of signals) process.on(signal, listener);
  const forget = (): void => {
    for (const signal of signals) process.off(signal, listener);
  };
  return { received: promise, forget };
}

function promiseWithResolver<T>(): { promise: Promise<T>; resolve: (value: T) => void } {
  let resolve!: (value: T) => void;
  const promise = new Promise<T>((settle) => {
    resolve = settle;
  });
  return { promise, resolve };
}

/** Serves until a signal comes (0) or a server dies (1). */
async function serve(servers: LocalServers, received: Promise<NodeJS.Signals>): Promise<number> {
  process.stdout.write(`${JSON.stringify({ kafka: servers.kafka, clickhouse: servers.clickhouse })}\n`);
  const death = await Promise.race([received.then(() => undefined), servers.died]);
  if (death !== undefined)
    say(`LOCAL_SERVER_DIED: ${describeDeath(death)} unexpectedly; its last words:\n${death.lastWords}`);
  await servers.stop();
  return death === undefined ? 0 : 1;
}

/**
 * `cdrhouse local up`: both servers in the foreground, one JSON line on stdout once both answer, progress on stderr.
 * Gives the exit code: 0 after SIGTERM or SIGINT, 1 when a server cannot start or dies.
 */
export async function localUpCommand(
  options: Pick<LocalServersOptions, 'dataDir' | 'kafkaPort' | 'clickhousePort'>,
): Promise<number> {
  const { received, forget } = firstSignal();
  const starting = startLocalServers({ ...options, report: say });
  try {
    const signal = await Promise.race([received, starting.then(() => undefined)]);
    if (signal === undefined) return await serve(await starting, received);
    // Asked to stop before both were up: what has started meanwhile is ended too.
    await (await starting).stop();
    return 0;
  } catch (error) {
    if (!(error instanceof LocalServerError)) throw error;
    say(`${error.code}: ${error.message}`);
    return 1;
  } finally {
    forget();
  }
}
