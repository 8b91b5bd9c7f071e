import type { FastifyError, FastifySchemaValidationError } from 'fastify';
import type { DatabaseFault } from '../schemas/clickhouse-errors.ts';
import type { HttpProblemCode } from '../schemas/errors.ts';
import { DatabaseError } from './clickhouse.ts';
import { Problem, PROBLEM_TYPE } from './problem.ts';

/** Where a request did not fit its schema: the codes for what is unknown, missing or wrong there. */
const VALIDATION_CODES: Readonly<
  Record<string, { unknown: HttpProblemCode; missing: HttpProblemCode; invalid: HttpProblemCode }>
> = {
  querystring: { unknown: 'PARAMETER_UNKNOWN', missing: 'PARAMETER_MISSING', invalid: 'PARAMETER_INVALID' },
  params: { unknown: 'PARAMETER_UNKNOWN', missing: 'PARAMETER_MISSING', invalid: 'PARAMETER_INVALID' },
  headers: { unknown: 'HEADER_INVALID', missing: 'HEADER_MISSING', invalid: 'HEADER_INVALID' },
  body: { unknown: 'PARAMETER_UNKNOWN', missing: 'PARAMETER_MISSING', invalid: 'PARAMETER_INVALID' },
};

const DATABASE_CODES: Readonly<Record<DatabaseFault, HttpProblemCode>> = {
  limit: 'QUERY_TOO_LARGE',
  passing: 'DATABASE_UNAVAILABLE',
  permanent: 'INTERNAL',
};

/** Names of parameters are the client's own text: no more of one than this is repeated. */
const NAME_LENGTH_MAX = 40;

/**
 * The Problem that tells a client of an error, with the error as its cause where the operator should see it.
 * @param onDatabaseFault told of each error of the database
 */
export function problemOf(error: unknown, onDatabaseFault?: (fault: DatabaseFault) => void): Problem {
  if (error instanceof Problem) {
    if (error.cause instanceof DatabaseError) onDatabaseFault?.(error.cause.fault);
    return error;
  }
  if (error instanceof DatabaseError) {
    onDatabaseFault?.(error.fault);
    return new Problem(DATABASE_CODES[error.fault], '', { cause: error });
  }
  if (!isFastifyError(error)) return new Problem('INTERNAL', '', { cause: error });
  const { code, statusCode, validation, validationContext } = error;
  const [failure] = validation ?? [];
  if (failure !== undefined) return validationProblem(failure, validationContext ?? 'querystring');
  if (statusCode === 413) return new Problem('BODY_TOO_LARGE', '');
  if (code.startsWith('FST_ERR_CTP_')) return new Problem('BODY_INVALID', '');
  if (statusCode !== undefined && statusCode >= 400 && statusCode < 500)
    return new Problem('REQUEST_INVALID', '');
  return new Problem('INTERNAL', '', { cause: error });
}

function isFastifyError(error: unknown): error is FastifyError {
  return error instanceof Error && 'code' in error && typeof error.code === 'string';
}

/** ajv is told to be verbose, and names the schema that was broken. */
type SchemaFailure = FastifySchemaValidationError & {
  readonly parentSchema?: { readonly description?: string; readonly properties?: object };
};

function validationProblem(failure: SchemaFailure, context: string): Problem {
  const codes = VALIDATION_CODES[context] ?? VALIDATION_CODES['querystring']!;
  const { keyword, params, message } = failure;
  const { description, properties } = failure.parentSchema ?? {};
  if (keyword === 'additionalProperties') {
    const known = Object.keys(properties ?? {}).join(', ');
    return new Problem(
      codes.unknown,
      `${shortened(params['additionalProperty'])}: unknown; known here: ${known}`,
    );
  }
  if (keyword === 'required')
    return new Problem(codes.missing, `${headerCase(params['missingProperty'], context)} is required`);
  if (context === 'body' && failure.instancePath === '')
    return new Problem('BODY_INVALID', 'the body must be a JSON object');
  const name = headerCase(failure.instancePath.split('/')[1], context);
  const allowed = description === undefined ? '' : ` (${description})`;
  return new Problem(codes.invalid, `${name}: ${message ?? 'is not allowed'}${allowed}`);
}

/** `case-id` as documents write it, `Case-Id`. */
function headerCase(name: unknown, context: string): string {
  const text = shortened(name);
  return context === 'headers' ? text.replace(/(^|-)[a-z]/g, (letter) => letter.toUpperCase()) : text;
}

function shortened(name: unknown): string {
  const text = String(name).replaceAll(/[^\x20-\x7e]/g, '?');
  return text.length > NAME_LENGTH_MAX ? `${text.slice(0, NAME_LENGTH_MAX)}…` : text;
}

/** A whole HTTP answer for a connection on which no request could be read; `code` is Node's code of the error. */
export function rawProblem(code: string | undefined, headers: Readonly<Record<string, string>>): string {
  const problem = new Problem(rawCode(code), '');
  const document = problem.document();
  const body = JSON.stringify(document);
  const lines = Object.entries({
    ...headers,
    'content-type': PROBLEM_TYPE,
    'content-length': String(Buffer.byteLength(body)),
    connection: 'close',
  }).map(([name, value]) => `${name}: ${value}\r\n`);
  return `HTTP/1.1 ${problem.status} ${problem.code}\r\n${lines.join('')}\r\n${body}`;
}

function rawCode(code: string | undefined): HttpProblemCode {
  if (code === 'HPE_HEADER_OVERFLOW') return 'HEADERS_TOO_LARGE';
  return code === 'ERR_HTTP_REQUEST_TIMEOUT' ? 'REQUEST_TIMEOUT' : 'REQUEST_INVALID';
}
