/** What can go wrong with the local servers; the messages say what to do, programs branch on the code. */
export const localServerErrorCodes = [
  'LOCAL_PORT_BUSY',
  'LOCAL_JAVA_MISSING',
  'LOCAL_MAVEN_MISSING',
  'LOCAL_COMPILER_MISSING',
  'LOCAL_CLICKHOUSE_LIBRARY_MISSING',
  'LOCAL_DOWNLOAD_FAILED',
  'LOCAL_DATA_DIR_IN_USE',
  'LOCAL_SERVER_DIED',
  'LOCAL_SERVER_TIMEOUT',
] as const;

export type LocalServerErrorCode = (typeof localServerErrorCodes)[number];

/** A local server cannot be started or has ended; `code` is stable, `message` says what to do. */
export class LocalServerError extends Error {
  override readonly name = 'LocalServerError';
  readonly code: LocalServerErrorCode;
  /** Whether the same call may succeed later without anybody changing anything. */
  readonly retryable: boolean;

  constructor(code: LocalServerErrorCode, message: string, options: { cause?: unknown } = {}) {
    super(message, options);
    this.code = code;
    this.retryable = code === 'LOCAL_DOWNLOAD_FAILED' || code === 'LOCAL_SERVER_TIMEOUT';
  }
}

/** The code of a system error such as ENOENT; `undefined` for anything else. */
export function systemErrorCode(error: unknown): string | undefined {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : undefined;
}

/** The one line that brings everything the local servers need on Debian and Ubuntu. */
export const installHint = 'on Debian or Ubuntu: apt-get install -y default-jre-headless maven gcc libc6-dev';
