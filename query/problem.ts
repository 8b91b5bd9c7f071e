import { HTTP_PROBLEMS, type HttpProblemCode } from '../schemas/errors.ts';

/** Seconds after which a client may come back when the database does not answer. */
const RETRY_AFTER_SECONDS = 5;

export const PROBLEM_TYPE = 'application/problem+json';

/** The body of an error answer (RFC 9457). */
export interface ProblemDocument {
  readonly type: string;
  readonly title: string;
  readonly status: number;
  readonly code: HttpProblemCode;
  readonly detail?: string;
  readonly request_id?: string;
}

/**
 * An error that a client is told about. `message` becomes the `detail`: it names the parameter or header and what is
 * allowed, never the value that was sent.
 */
export class Problem extends Error {
  override readonly name = 'Problem';
  readonly code: HttpProblemCode;
  /** Headers of the answer (`allow`, `www-authenticate`, `retry-after`). */
  readonly headers: Readonly<Record<string, string>>;

  constructor(
    code: HttpProblemCode,
    detail: string,
    options?: { cause?: unknown; headers?: Record<string, string> },
  ) {
    super(detail, options?.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.headers = { ...standardHeaders(code), ...options?.headers };
  }

  get status(): number {
    return HTTP_PROBLEMS[this.code].status;
  }

  document(requestId?: string): ProblemDocument {
    const { status, title } = HTTP_PROBLEMS[this.code];
    return {
      type: `urn:cdrhouse:problem:${this.code.toLowerCase().replaceAll('_', '-')}`,
      title,
      status,
      code: this.code,
      ...(this.message === '' ? {} : { detail: this.message }),
      ...(requestId === undefined ? {} : { request_id: requestId }),
    };
  }
}

function standardHeaders(code: HttpProblemCode): Record<string, string> {
  const { status } = HTTP_PROBLEMS[code];
  if (status === 401) return { 'www-authenticate': 'Bearer realm="cdrhouse"' };
  if (status === 503) return { 'retry-after': String(RETRY_AFTER_SECONDS) };
  return {};
}
