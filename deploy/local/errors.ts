/** What can go wrong with the local servers; the messages say what to do, programs branch on the code. */
export const localServerErrors = {
  LOCAL_PORT_BUSY: 'another program has the port',
  LOCAL_JAVA_MISSING: 'there is no Java for the broker, or one that is too old',
  LOCAL_MAVEN_MISSING: 'there is no Maven to bring the broker',
  LOCAL_COMPILER_MISSING: 'there is no C compiler for the launcher',
  LOCAL_CLICKHOUSE_LIBRARY_MISSING: 'the npm package that holds ClickHouse is not installed',
  LOCAL_DOWNLOAD_FAILED: 'the broker could not be downloaded',
  LOCAL_DATA_DIR_IN_USE: 'other servers run on the data folder',
  LOCAL_SERVER_DIED: 'a server ended by itself',
  LOCAL_SERVER_TIMEOUT: 'a server does not answer in time',
} as const;

export type LocalServerErrorCode = keyof typeof localServerErrors;

/** A local server cannot be started or has ended; `code` is stable, `message` says what to do. */
export class LocalServerError extends Error {
  override readonly name = 'LocalServerError';
  readonly code: LocalServerErrorCode;

  constructor(code: LocalServerErrorCode, message: string, options: { cause?: unknown } = {}) {
    super(message, options);
    this.code = code;
  }
}

/** The code of a system error such as ENOENT; `undefined` for anything else. */
export function systemErrorCode(error: unknown): string | undefined {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : undefined;
}

/** The one line that brings everything the local servers need on Debian and Ubuntu. */
export const installHint = 'on Debian or Ubuntu: apt-get install -y default-jre-headless maven gcc libc6-dev';
