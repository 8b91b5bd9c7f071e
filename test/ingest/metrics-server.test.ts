import type { AddressInfo } from 'node:net';
import { Registry } from 'prom-client';
import tap from 'tap';
import { serveMetrics, type Observed } from '../../ingest/metrics-server.ts';

const observed: Observed = {
  registry: () => Promise.resolve(new Registry()),
  readiness: () => Promise.reject(new Error('not asked here')),
};

await tap.test('an address that cannot be had is told as one', async (t) => {
  const server = await serveMetrics('127.0.0.1', 0, observed);
  t.teardown(() => server.close());
  const { port } = server.address() as AddressInfo;
  await t.rejects(serveMetrics('127.0.0.1', port, observed), {
    code: 'ADDRESS_UNUSABLE',
    message: /EADDRINUSE/,
  });
  // Kept for documents: no host has it.
  await t.rejects(serveMetrics('192.0.2.1', 0, observed), {
    code: 'ADDRESS_UNUSABLE',
    message: /EADDRNOTAVAIL/,
  });
});
