import { createHash } from 'node:crypto';
import { createServer, type Server } from 'node:net';
import { hostname } from 'node:os';

/** More ingest processes of one group than this on one host are a mistake. */
const SLOTS_MAX = 256;

/** A claimed place among the ingest processes of this host. */
export interface ProcessSlot {
  /** Kafka's group.instance.id: the same for the next process that takes this slot. */
  readonly instanceId: string;
  release(): void;
}

/**
 * Claims the first free slot of this host for a consumer group. The claim is a socket name in the kernel's
 * abstract namespace: it needs no file and is free again at the moment its process dies, however it dies.
 * So a restarted process takes its predecessor's place in the group without waiting for a timeout.
 */
export async function claimProcessSlot(group: string): Promise<ProcessSlot> {
  // The kernel takes 107 bytes; a group's name may be longer, and two may differ in their last letter only.
  const groupHash = createHash('sha256').update(group).digest('hex').slice(0, 32);
  for (let slot = 0; slot < SLOTS_MAX; slot++) {
    const server = await listen(`\0cdrhouse-ingest-${groupHash}-${slot}`);
    if (server === undefined) continue;
    return { instanceId: `cdrhouse-${hostname()}-${slot}`, release: () => server.close() };
  }
  throw new RangeError(`more than ${SLOTS_MAX} ingest processes of one group on this host`);
}

function listen(name: string): Promise<Server | undefined> {
  return new Promise((resolve, reject) => {
    const server = createServer((socket) => socket.destroy());
    server.unref();
    server.once('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'EADDRINUSE') resolve(undefined);
      else reject(error);
    });
    server.listen(name, () => resolve(server));
  });
}
