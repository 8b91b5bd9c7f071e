import { createServer } from 'node:http';
import { once } from 'node:events';
import tap from 'tap';
import { checkSettings } from '../../schemas/settings.ts';
import { runQuery } from '../../query/main.ts';

await tap.test('while ClickHouse cannot be reached it waits, and ends when it is told to', async (t) => {
  const busy = createServer((request, response) => {
    request.resume();
    response.writeHead(503).end();
  });
  busy.listen(0, '127.0.0.1');
  await once(busy, 'listening');
  t.teardown(() => busy.close());
  const address = busy.address();
  const port = typeof address === 'object' ? address!.port : 0;
  const settings = checkSettings({
    clickhouse: { url: `http://127.0.0.1:${port}` },
    query: { port: 0, log_level: 'silent' },
  });
  const stop = new AbortController();
  const running = runQuery({ settings, stop: stop.signal, onListening: () => t.fail('must not listen') });
  // Two statements for each try: the third is the second try's.
  for (let statement = 0; statement < 3; statement++) await once(busy, 'request');
  stop.abort();
  await t.resolves(running);
});
