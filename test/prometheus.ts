import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { accessSync, constants, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { homedir, tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import type { Test } from 'tap';
import { freePort } from '../deploy/local/ports.ts';
import { until } from './cdrhouse-program.ts';

const RULES = fileURLToPath(new URL('../../deploy/alerts.yml', import.meta.url));
const END_MS_MAX = 10_000;

/** A firing alert. */
export interface Alert {
  readonly labels: Readonly<Record<string, string>> & { readonly alertname: string };
  readonly annotations: Readonly<Record<string, string>>;
}

/** The rule file that is shipped, as it is. */
export function alertRules(): string {
  return readFileSync(RULES, 'utf8');
}

/**
 * The same rules with time sixty times as fast: every `for:` and every window of a range, which are whole
 * minutes, become as many seconds. Nothing else changes; thresholds are those that are shipped.
 */
export function fasterRules(): string {
  const faster = alertRules()
    .replaceAll(/^( +for: [0-9]+)m$/gm, '$1s')
    .replaceAll(/\[([0-9]+)m\]/g, '[$1s]');
  const left = /^ +for: [0-9]+[^s]$|\[[0-9]+[^s]\]/m.exec(faster);
  if (left !== null) throw new Error(`a duration of deploy/alerts.yml is not in minutes: ${left[0].trim()}`);
  return faster;
}

/** Runs promtool and gives what it says. Rejects where it fails. */
export async function promtool(...commandLine: string[]): Promise<string> {
  const { stdout } = await promisify(execFile)(join(programFolder(), 'promtool'), commandLine);
  return stdout;
}

/** A real Prometheus that scrapes and evaluates every second. */
export class Prometheus {
  readonly #url: string;

  private constructor(url: string) {
    this.#url = url;
  }

  /**
   * Starts one, ended with the test.
   * @param rules text of the rule file
   * @param targets addresses (`127.0.0.1:9464`) by job
   */
  static async start(t: Test, rules: string, targets: Readonly<Record<string, string>>): Promise<Prometheus> {
    const folder = mkdtempSync(join(tmpdir(), 'cdrhouse-prometheus-'));
    t.teardown(() => rmSync(folder, { recursive: true, force: true, maxRetries: 5 }));
    writeFileSync(join(folder, 'alerts.yml'), rules);
    writeFileSync(
      join(folder, 'prometheus.yml'),
      // JSON is YAML.
      JSON.stringify({
        global: { scrape_interval: '1s', scrape_timeout: '1s', evaluation_interval: '1s' },
        rule_files: ['alerts.yml'],
        scrape_configs: Object.entries(targets).map(([job, target]) => ({
          job_name: job,
          static_configs: [{ targets: [target] }],
        })),
      }),
    );
    const address = `127.0.0.1:${await freePort()}`;
    const child = spawn(
      join(programFolder(), 'prometheus'),
      [
        `--config.file=${join(folder, 'prometheus.yml')}`,
        `--storage.tsdb.path=${join(folder, 'data')}`,
        `--web.listen-address=${address}`,
        '--log.level=warn',
      ],
      { stdio: ['ignore', 'ignore', 'pipe'] },
    );
    let log = '';
    child.stderr.on('data', (chunk: Buffer) => (log += chunk.toString()));
    const ended = once(child, 'close');
    t.teardown(async () => {
      const timer = setTimeout(() => child.kill('SIGKILL'), END_MS_MAX);
      child.kill('SIGTERM');
      await ended;
      clearTimeout(timer);
    });
    await until('Prometheus is ready', async () => {
      if (child.exitCode !== null) throw new Error(`Prometheus ended with ${child.exitCode}: ${log}`);
      return (await fetch(`http://${address}/-/ready`).catch(() => undefined))?.ok === true;
    });
    return new Prometheus(`http://${address}`);
  }

  /** Names of the alerts that there are rules for. */
  async alertNames(): Promise<string[]> {
    const { groups } = await this.#get<{ groups: { rules: { name: string }[] }[] }>(
      '/api/v1/rules?type=alert',
    );
    return groups.flatMap(({ rules }) => rules.map(({ name }) => name));
  }

  /** Alerts that fire now. */
  async firing(): Promise<Alert[]> {
    const { alerts } = await this.#get<{ alerts: (Alert & { state: string })[] }>('/api/v1/alerts');
    return alerts.filter(({ state }) => state === 'firing');
  }

  async #get<T>(path: string): Promise<T> {
    const answer = await fetch(`${this.#url}${path}`);
    if (!answer.ok) throw new Error(`Prometheus answers ${answer.status} to ${path}`);
    return ((await answer.json()) as { data: T }).data;
  }
}

/** Serves what `text` gives as /metrics, in place of node_exporter's textfile collector. Gives its address. */
export async function serveText(t: Test, text: () => string | Promise<string>): Promise<string> {
  const server = createServer((_, response) => {
    void (async () => {
      response.writeHead(200, { 'content-type': 'text/plain; version=0.0.4' }).end(await text());
    })();
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => {
    server.close();
    server.closeAllConnections();
  });
  return `127.0.0.1:${(server.address() as AddressInfo).port}`;
}

/** Where prometheus and promtool are, in the order of deploy/fetch-prometheus.sh. */
function programFolder(): string {
  const named = process.env['PROMETHEUS'] ?? '';
  const cache = process.env['XDG_CACHE_HOME'] ?? '';
  const folders =
    named !== ''
      ? [named]
      : [
          ...(process.env['PATH'] ?? '').split(delimiter),
          join(cache === '' ? join(homedir(), '.cache') : cache, 'cdrhouse', 'prometheus', 'usr', 'bin'),
        ];
  const found = folders.find((folder) =>
    ['prometheus', 'promtool'].every((program) => isExecutable(join(folder, program))),
  );
  if (found === undefined)
    throw new Error('there is no Prometheus: run deploy/fetch-prometheus.sh, as make test does');
  return found;
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
