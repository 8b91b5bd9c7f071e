import { randomInt } from 'node:crypto';
import { createServer, type Server } from 'node:net';
import { LocalServerError, systemErrorCode } from './errors.ts';

export const loopback = '127.0.0.1';

/**
 * Below the range from which the kernel takes the ports of outgoing connections (32768 and up on Linux). Inside it, a
 * client that tries again and again to reach a server which is down may get the very port it calls, and talk to itself.
 */
const freePortRange = { from: 15_000, to: 30_000 };
const freePortTriesMax = 200;

async function listen(port: number): Promise<Server> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', reject);
    server.listen({ host: loopback, port, exclusive: true }, () => resolve(server));
  });
}

async function close(server: Server): Promise<void> {
  return new Promise((resolve) => {
    server.close(() => resolve());
  });
}

async function isFree(port: number): Promise<boolean> {
  try {
    await close(await listen(port));
    return true;
  } catch (error) {
    if (systemErrorCode(error) === 'EADDRINUSE') return false;
    throw error;
  }
}

/** A port of 127.0.0.1 on which nobody listens, and which is none of `taken`. */
export async function freePort(taken: readonly number[] = []): Promise<number> {
  for (let tries = 0; tries < freePortTriesMax; tries++) {
    const port = randomInt(freePortRange.from, freePortRange.to);
    if (!taken.includes(port) && (await isFree(port))) return port;
  }
  throw new LocalServerError(
    'LOCAL_PORT_BUSY',
    `no free port found on ${loopback} between ${freePortRange.from} and ${freePortRange.to}`,
  );
}

/**
 * `port` itself if nobody listens there; 0 picks a free one.
 * @param who the server that wants it, for the message
 * @throws LocalServerError LOCAL_PORT_BUSY
 */
export async function requirePort(who: string, port: number): Promise<number> {
  if (port === 0) return freePort();
  if (await isFree(port)) return port;
  throw new LocalServerError(
    'LOCAL_PORT_BUSY',
    `${who}: port ${port} of ${loopback} is in use; stop the program that has it (ss -ltnp 'sport = :${port}' names ` +
      `it) or choose another with --${who}-port (0 = any free one)`,
  );
}
