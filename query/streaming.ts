import type { FastifyReply } from 'fastify';
import { createHash } from 'node:crypto';
import { Readable } from 'node:stream';
import type { AnswerFormat } from '../schemas/api.ts';
import { encodeCsv, type CsvColumn } from '../schemas/csv.ts';
import { DatabaseError } from './clickhouse.ts';
import { problemOf } from './errors.ts';
import type { QueryMetrics } from './metrics.ts';
import { Problem } from './problem.ts';

export type StreamFormat = Exclude<AnswerFormat, 'json'>;

const MEDIA_TYPES: Readonly<Record<StreamFormat, string>> = {
  csv: 'text/csv; charset=utf-8; header=present',
  ndjson: 'application/x-ndjson',
};
const ACCEPTED: ReadonlyMap<string, AnswerFormat> = new Map([
  ['application/json', 'json'],
  ['text/csv', 'csv'],
  ['application/x-ndjson', 'ndjson'],
  ['application/ndjson', 'ndjson'],
]);

/**
 * The format that a client asks for: by the parameter `format`, else by `Accept` (the one that it likes best, of equals
 * the first), else JSON.
 */
export function formatOf(asked: AnswerFormat | undefined, accept: string | undefined): AnswerFormat {
  if (asked !== undefined) return asked;
  let best: { format: AnswerFormat; quality: number } = { format: 'json', quality: 0 };
  for (const range of (accept ?? '').split(',')) {
    const [type, ...parameters] = range.split(';').map((part) => part.trim().toLowerCase());
    const format = ACCEPTED.get(type ?? '');
    const quality = Number(parameters.find((each) => each.startsWith('q='))?.slice(2) ?? 1);
    if (format !== undefined && quality > best.quality) best = { format, quality };
  }
  return best.format;
}

/** Throws a Problem where a page is asked for of what is always given whole. */
export function refusePaging(query: { readonly limit?: unknown; readonly cursor?: unknown }): void {
  for (const name of ['limit', 'cursor'] as const) {
    if (query[name] === undefined) continue;
    throw new Problem('PARAMETER_INVALID', `${name}: only with format=json; csv and ndjson give all rows`);
  }
}

/** An answer that is given row by row. */
export interface StreamedAnswer<Row extends object> {
  readonly format: StreamFormat;
  /** The rows of the JSON answer, in batches; read only as fast as the client reads. */
  readonly rows: AsyncIterable<readonly Row[]>;
  readonly columns: readonly CsvColumn<Row>[];
  /** What the JSON answer says beside its rows: the closing record of NDJSON has it too. */
  readonly closing: Readonly<Record<string, unknown>>;
  /**
   * Told how many rows were given, and whether that is all. Awaited before the answer is brought to its end, which
   * it does not reach where this rejects.
   */
  readonly finished: (rows: number, complete: boolean) => Promise<void>;
}

/** Given to fastify in place of an error in mid-stream, which may hold values and would be logged whole. */
class BrokenOff extends Error {
  override readonly name = 'BrokenOff';
}

/**
 * Gives a streamed answer, to its end. Rejects with what fails before the first row, so that it becomes a problem
 * document. What fails later breaks the connection, without the end of the chunked body, so that no client takes a
 * part for the whole.
 */
export async function streamAnswer<Row extends object>(
  reply: FastifyReply,
  metrics: QueryMetrics,
  answer: StreamedAnswer<Row>,
): Promise<void> {
  const { format, finished } = answer;
  const batches = answer.rows[Symbol.asyncIterator]();
  const given = { rows: 0, complete: false };
  const first = await batches.next().catch(async (error: unknown) => {
    // What failed is what the client must hear of.
    await finished(0, false).catch(() => undefined);
    throw error;
  });

  async function* counted(): AsyncGenerator<readonly Row[]> {
    for (let next = first; next.done !== true; next = await batches.next()) {
      given.rows += next.value.length;
      yield next.value;
    }
    await finished(given.rows, true);
    given.complete = true;
  }
  async function* encoded(): AsyncGenerator<Buffer> {
    try {
      yield* format === 'csv'
        ? encodeCsv(counted(), answer.columns)
        : encodeNdjson(counted(), answer.closing);
    } catch (error) {
      // The client is gone, and that ended the query.
      if (reply.raw.destroyed) throw new BrokenOff('the client is gone');
      const problem = problemOf(error, (fault) => metrics.databaseFailed(fault));
      if (!reply.raw.headersSent) throw problem;
      const { code, cause } = problem;
      const reason = cause instanceof DatabaseError ? cause.message : undefined;
      reply.log.warn({ code, reason, rows: given.rows }, 'an answer was broken off');
      throw new BrokenOff(code);
    }
  }

  const body = Readable.from(encoded(), { objectMode: false });
  body.once('close', () => {
    if (given.complete) return;
    // A client that went away leaves the rows half read.
    void batches.return?.(undefined).catch(() => undefined);
    void finished(given.rows, false).catch(() => undefined);
  });
  const closed = new Promise<void>((resolve) => {
    body.once('close', () => resolve());
  });
  void reply.header('content-type', MEDIA_TYPES[format]).send(body);
  await closed;
}

/**
 * Rows as JSON, one a line, and a last line `{"end": {…}}` with their number and the SHA-256 of all bytes before it:
 * without that line the answer is not complete.
 */
export async function* encodeNdjson(
  batches: AsyncIterable<readonly object[]>,
  closing: Readonly<Record<string, unknown>>,
): AsyncGenerator<Buffer> {
  const hash = createHash('sha256');
  let count = 0;
  for await (const rows of batches) {
    if (rows.length === 0) continue;
    const bytes = Buffer.from(rows.map((row) => `${JSON.stringify(row)}\n`).join(''));
    hash.update(bytes);
    count += rows.length;
    yield bytes;
  }
  const end = { rows: count, sha256: hash.digest('hex'), ...closing };
  yield Buffer.from(`${JSON.stringify({ end })}\n`);
}

/** Each batch with its rows turned into others. */
export async function* mapRows<From, To>(
  batches: AsyncIterable<readonly From[]>,
  turn: (row: From) => To,
): AsyncGenerator<readonly To[]> {
  for await (const rows of batches) yield rows.map(turn);
}
