import { CdrhouseError, type ProgramErrorCode } from './errors.ts';

/**
 * ClickHouse errors that waiting does not mend: wrong names, missing grants, wrong credentials, statements
 * that the server does not understand. Codes from ClickHouse's ErrorCodes.cpp.
 */
const PERMANENT = new Set([
  '16', // NO_SUCH_COLUMN_IN_TABLE
  '20', // NUMBER_OF_COLUMNS_DOESNT_MATCH
  '36', // BAD_ARGUMENTS
  '42', // NUMBER_OF_ARGUMENTS_DOESNT_MATCH
  '43', // ILLEGAL_TYPE_OF_ARGUMENT
  '46', // UNKNOWN_FUNCTION
  '47', // UNKNOWN_IDENTIFIER
  '48', // NOT_IMPLEMENTED
  '50', // UNKNOWN_TYPE
  '53', // TYPE_MISMATCH
  '60', // UNKNOWN_TABLE
  '62', // SYNTAX_ERROR
  '73', // UNKNOWN_FORMAT
  '81', // UNKNOWN_DATABASE
  '115', // UNKNOWN_SETTING
  '164', // READONLY
  '192', // UNKNOWN_USER
  '193', // WRONG_PASSWORD
  '194', // REQUIRED_PASSWORD
  '195', // IP_ADDRESS_NOT_ALLOWED
  '291', // DATABASE_ACCESS_DENIED
  '452', // SETTING_CONSTRAINT_VIOLATION
  '497', // ACCESS_DENIED
  '516', // AUTHENTICATION_FAILED
]);

/** UNKNOWN_TABLE, UNKNOWN_DATABASE */
const MISSING = new Set(['60', '81']);

/** Errors by which a query says that it asks for more than its limits allow. */
const LIMITS = new Set([
  '158', // TOO_MANY_ROWS
  '159', // TIMEOUT_EXCEEDED
  '160', // TOO_SLOW
  '241', // MEMORY_LIMIT_EXCEEDED
  '307', // TOO_MANY_BYTES
  '396', // TOO_MANY_ROWS_OR_BYTES
]);

/**
 * `permanent`: stop and say so. `limit`: the work was too much, or the server is short of memory.
 * `passing`: network, overload, merges behind; wait and try again.
 */
export type DatabaseFault = 'permanent' | 'limit' | 'passing';

/** Judges an error of @clickhouse/client by its `code`, never by its text. */
export function judgeDatabaseError(error: unknown): DatabaseFault {
  const code = errorCode(error);
  if (PERMANENT.has(code)) return 'permanent';
  return LIMITS.has(code) ? 'limit' : 'passing';
}

/** True where a table or the database itself does not exist. */
export function isMissingTable(error: unknown): boolean {
  return MISSING.has(errorCode(error));
}

/** The code of an error as text (`60`, `ECONNREFUSED`), or `none`. */
export function errorCode(error: unknown): string {
  if (typeof error !== 'object' || error === null || !('code' in error)) return 'none';
  return String(error.code);
}

/**
 * What can be told of a database error without personal data: its code and type. The server's text may
 * repeat values of the statement.
 */
export function describeDatabaseError(error: unknown): string {
  const type = typeof error === 'object' && error !== null && 'type' in error ? ` ${String(error.type)}` : '';
  const code = errorCode(error);
  if (code !== 'none') return `code ${code}${type}`;
  return error instanceof Error ? error.name : 'unknown error';
}

/**
 * The error with which a command ends where the database failed: CLICKHOUSE_UNREACHABLE, CLICKHOUSE_BUSY,
 * CLICKHOUSE_REFUSED or SCHEMA_MISSING. An error that is not the database's comes back as it is.
 */
export function databaseFailure(error: unknown): unknown {
  if (!(error instanceof Error) || error instanceof CdrhouseError) return error;
  const code = errorCode(error);
  const detail = `ClickHouse: ${describeDatabaseError(error)}`;
  // The client throws plain errors for its own timeout and for an answer that is not ClickHouse's (a proxy's).
  if (code === 'none') {
    return error.constructor === Error
      ? new CdrhouseError('CLICKHOUSE_UNREACHABLE', 'ClickHouse: no answer in time, or not its own', error)
      : error;
  }
  return new CdrhouseError(failureCode(code), detail, error);
}

/** The code of the catalogue for that of an error (`errorCode`): the server's are numbers, those of the network names. */
export function failureCode(code: string): ProgramErrorCode {
  if (!/^[0-9]+$/.test(code)) return 'CLICKHOUSE_UNREACHABLE';
  if (MISSING.has(code)) return 'SCHEMA_MISSING';
  return PERMANENT.has(code) ? 'CLICKHOUSE_REFUSED' : 'CLICKHOUSE_BUSY';
}
