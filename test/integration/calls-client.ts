import type { Test } from 'tap';
import { until, type Installation } from '../cdrhouse-program.ts';

/** A call in an answer of the API. */
export interface ToldCall {
  readonly id: string;
  readonly calling_number: string;
  readonly displayed_caller_id: string;
  readonly dialed_number: string;
  readonly start: string;
  readonly duration_s: number;
  readonly talk_s: number | null;
  readonly outcome: string;
  readonly feed: string;
  readonly call_id: string;
  readonly matched_roles: readonly string[];
  readonly held: boolean;
}

/** An answer of `/v1/calls`, or a problem. */
export interface CallsTold {
  readonly data: readonly ToldCall[];
  readonly next_cursor: string | null;
  readonly matched: Readonly<Record<string, string | number>>;
  readonly from: string;
  readonly to: string;
  readonly complete: {
    readonly feeds: Readonly<
      Record<string, { read_up_to: string | null; gaps: number; rejected: number; kept_since: string | null }>
    >;
    readonly kept_since: string | null;
  };
  readonly withheld: number;
  readonly code?: string;
  readonly detail?: string;
}

export interface Told<Body> {
  readonly status: number;
  readonly body: Body;
}

/** Asks the API as a program does. */
export class CallsClient {
  readonly #url: string;
  readonly #headers: Readonly<Record<string, string>>;

  constructor(url: string, token: string) {
    this.#url = url;
    this.#headers = { authorization: `Bearer ${token}`, 'case-id': 'C-9', purpose: 'dispute' };
  }

  get<Body = CallsTold>(path: string, parameters: Record<string, string> = {}): Promise<Told<Body>> {
    const query = new URLSearchParams(parameters).toString();
    return this.#told(`${path}${query === '' ? '' : `?${query}`}`, {});
  }

  post<Body = CallsTold>(path: string, body: unknown): Promise<Told<Body>> {
    return this.#told(path, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: typeof body === 'string' ? body : JSON.stringify(body),
    });
  }

  /** An answer in another format than JSON. */
  async text(path: string, parameters: Record<string, string>): Promise<string> {
    const query = new URLSearchParams(parameters).toString();
    return (await fetch(`${this.#url}${path}?${query}`, { headers: this.#headers })).text();
  }

  async #told<Body>(
    path: string,
    init: Omit<RequestInit, 'headers'> & { headers?: Record<string, string> },
  ): Promise<Told<Body>> {
    const answer = await fetch(`${this.#url}${path}`, {
      ...init,
      headers: { ...this.#headers, ...init.headers },
    });
    return { status: answer.status, body: JSON.parse(await answer.text()) as Body };
  }
}

/** Starts `cdrhouse serve`; it ends with the test. Gives its address. */
export async function serve(t: Test, installation: Installation): Promise<string> {
  const running = installation.start('serve');
  t.teardown(async () => {
    running.child.kill('SIGTERM');
    await running.ended;
  });
  const address = (): string | undefined => /listening on (\S+)/.exec(running.stderr())?.[1];
  await until('the API listens', () => address() !== undefined || running.child.exitCode !== null);
  return address()!;
}

/** A new key with these roles, as `keys add` gives it. */
export async function addKey(installation: Installation, ...roles: string[]): Promise<string> {
  const { token } = await installation.json<{ token: string }>('keys', 'add', '--role', ...roles, '--json');
  return token;
}
