/**
 * The error catalogue: every code that a program, a dead letter or an HTTP answer can carry, with what it
 * means and what to do next. Code branches on the code, never on text.
 */

/** Why a record was rejected into `dead_letters`. Bytes, field and position stand in the table, never in a log. */
export const REJECT_CODES = [
  'COLUMN_COUNT_WRONG',
  'QUOTE_MALFORMED',
  'JSON_MALFORMED',
  'JSON_NOT_AN_OBJECT',
  'JSON_TOO_DEEP',
  'JSON_VALUE_NESTED',
  'HEADER_MISSING',
  'RECORD_KIND_UNKNOWN',
  'FIELD_TOO_LONG',
  'FIELD_MISSING',
  'START_UNREADABLE',
  'START_IN_FUTURE',
  'START_IMPLAUSIBLE',
  'DURATION_UNREADABLE',
  'DURATION_OUT_OF_RANGE',
  'OUTCOME_UNREADABLE',
] as const;
export type RejectCode = (typeof REJECT_CODES)[number];

/** What each reject code means, for people who look at dead letters. */
export const REJECT_MEANINGS: Readonly<Record<RejectCode, string>> = {
  COLUMN_COUNT_WRONG: 'the line has another number of columns than its format allows',
  QUOTE_MALFORMED: 'a quoted field is not closed on its line, or text follows its closing quote',
  JSON_MALFORMED: 'the line is no JSON document',
  JSON_NOT_AN_OBJECT: 'the line is JSON, but no object',
  JSON_TOO_DEEP: 'the JSON document is nested more than 128 deep',
  JSON_VALUE_NESTED: 'an object or array stands where the format has a text or a number',
  HEADER_MISSING:
    'the message has no header before the record, or one that lacks a column which every record needs; ship repeats it in each message',
  RECORD_KIND_UNKNOWN:
    'the column that says what kind of record it is has a word that the format does not know',
  FIELD_TOO_LONG: 'a field is longer than 4096 bytes',
  FIELD_MISSING: 'a field that every record needs (start, duration) is empty',
  START_UNREADABLE: 'the start is no time in a notation that the format allows',
  START_IN_FUTURE: 'the start is further ahead of the Kafka timestamp than ingest.future_hours_max',
  START_IMPLAUSIBLE: "the start is before the feed's earliest_start",
  DURATION_UNREADABLE: 'the duration (or talk duration) is negative, or not in the notation of the format',
  DURATION_OUT_OF_RANGE: 'the duration (or talk duration) is longer than 49.7 days',
  OUTCOME_UNREADABLE: 'the outcome is no word that the format knows',
};

/** Why a line or message that is no record was passed over. */
export const SKIP_REASONS = [
  'empty_line',
  'header',
  'type_row',
  'comment',
  'interim_record',
  'other_record',
  'marker',
  'tombstone',
  'empty_message',
  'expired',
] as const;
export type SkipReason = (typeof SKIP_REASONS)[number];

interface ProgramError {
  readonly meaning: string;
  readonly action: string;
  /** True when waiting can help: the program retries by itself. */
  readonly retryable: boolean;
}

/** Errors that end a command or that a service waits out. */
export const PROGRAM_ERRORS = {
  SETTINGS_INVALID: {
    meaning: 'cdrhouse.yaml or an environment override does not fit the settings schema',
    action: 'mend the key that the message names; it also says what is allowed',
    retryable: false,
  },
  USAGE_WRONG: {
    meaning: 'the command line has a wrong option or argument',
    action: 'see --help of the command',
    retryable: false,
  },
  CLICKHOUSE_UNREACHABLE: {
    meaning: 'ClickHouse does not answer',
    action: 'start it, or mend CDRHOUSE_CLICKHOUSE_URL',
    retryable: true,
  },
  CLICKHOUSE_BUSY: {
    meaning: 'ClickHouse refuses work for now (too many parts, memory limit, overload, timeout)',
    action:
      'nothing: services retry by themselves, repeat a command; if it lasts, look at the merges and memory of the database',
    retryable: true,
  },
  CLICKHOUSE_REFUSED: {
    meaning: 'ClickHouse refuses the statement for good (unknown table, no grant, wrong password)',
    action: 'run cdrhouse migrate, or mend the grants (migrate --print-grants)',
    retryable: false,
  },
  CLICKHOUSE_TOO_OLD: {
    meaning: 'this ClickHouse lacks what the tables need',
    action: 'use ClickHouse 26.3 or newer',
    retryable: false,
  },
  SCHEMA_MISSING: {
    meaning: 'the database has no cdrhouse tables, or older ones than this program needs',
    action: 'run cdrhouse migrate',
    retryable: false,
  },
  SCHEMA_TOO_NEW: {
    meaning: 'the tables are more than one schema version ahead of this program',
    action: 'use the newer program that made them',
    retryable: false,
  },
  RETENTION_DIFFERS: {
    meaning: 'retention.months, or retention_months of a feed, is not the term stored in the database',
    action:
      'set it to the stored term, or change that with cdrhouse retention term; a feed without calls yet: run cdrhouse migrate',
    retryable: false,
  },
  KAFKA_UNREACHABLE: {
    meaning: 'no Kafka broker answers',
    action: 'start it, or mend CDRHOUSE_KAFKA_BROKERS and kafka.client',
    retryable: true,
  },
  KAFKA_REFUSED: {
    meaning: 'Kafka refuses the request for good (no such topic, no permission)',
    action: 'run cdrhouse migrate to create the topics, or mend the ACLs',
    retryable: false,
  },
  NATIVE_ADDON_MISSING: {
    meaning:
      'the native part of ingest is not compiled, or for another node-rdkafka than the installed one, and ingest.reader is packed',
    action: 'run make build, or set ingest.reader to auto',
    retryable: false,
  },
  PLAIN_CONSUME: {
    meaning:
      'ingest reads without its native part, one object a message: all is right, for 1.2 times the CPU of ingest where ship packs lines into messages and 2.4 times where each record is a message (make bench-readers)',
    action:
      'run make build where the native part is missing (the message says why); ingest.reader: plain asks for it',
    retryable: false,
  },
  OWNERSHIP_LOST: {
    meaning: 'the consumer group gave the partitions of this process to another one, as after a long stop',
    action: 'nothing: what was in hand is dropped and read again by the new owner',
    retryable: false,
  },
  PARTITION_GAP: {
    meaning: 'Kafka no longer holds the offset at which the ledger says to go on; records may be missing',
    action: 'look at GET /v1/feeds and the topic, then acknowledge with cdrhouse ingest accept-gap',
    retryable: false,
  },
  GROUP_BUSY: {
    meaning:
      'the consumer group has members: ingest is running, or ended less than a session timeout (45 s) ago',
    action: 'stop ingest, wait, and try again',
    retryable: false,
  },
  ERASURE_WAITS: {
    meaning:
      'an erasure waits for something that does not end: an ingest process, an insert, a query that holds old parts',
    action: 'look at what the message names, then call the command again: it goes on where it stopped',
    retryable: true,
  },
  ERASURE_UNPROVEN: {
    meaning: 'after an erasure something of the person is still found, or a change of the tables fails',
    action: 'look at system.mutations of the database, then call the command again',
    retryable: false,
  },
  ERASURE_NUMBERS_GONE: {
    meaning:
      'an erasure was broken off where the database does not have its numbers: before they were noted, or when all but its record was done',
    action: 'call subject erase again with the same arguments: it goes on where it stopped',
    retryable: false,
  },
  SUPPRESSIONS_UNREADABLE: {
    meaning:
      'suppressions of erased numbers were made with other keys than the database has: ingest could store again what was erased',
    action:
      'bring back the identity_key of the table settings from the same backup as the table suppressions',
    retryable: false,
  },
  READING_CHANGED: {
    meaning:
      'a replay of these dead letters under other settings of the feed was broken off: stored again, they might count twice',
    action: 'set the feed as it was and finish it, or rewind the range with cdrhouse ingest rewind',
    retryable: false,
  },
  TOPIC_MISSING: {
    meaning: 'a feed names a topic that does not exist',
    action: 'run cdrhouse migrate to create it; ingest picks it up by itself',
    retryable: true,
  },
  INGEST_PROCESS_FAILED: {
    meaning: 'one of several ingest processes ended with an error of its own; the others were stopped',
    action: 'see its message before this one',
    retryable: false,
  },
  PARSE_WORKER_FAILED: {
    meaning: 'parse workers fail again and again on one message (they throw, hang, or run out of memory)',
    action:
      'report it with the version and the log; docs/operations.md says how to go on without the message',
    retryable: false,
  },
  FEED_UNKNOWN: {
    meaning: 'no feed of this name stands in the settings',
    action: 'name a feed of cdrhouse.yaml',
    retryable: false,
  },
  FILE_UNREADABLE: {
    meaning: 'a file cannot be read',
    action: 'mend the path or its permissions',
    retryable: false,
  },
  FILE_CHANGED: {
    meaning: 'a file was replaced or cut off while it was read',
    action: 'ship it again when nobody changes it, or follow it with ship --follow',
    retryable: false,
  },
  FILE_DAMAGED: {
    meaning: 'a gzip file is cut off or damaged; what could be read was sent, and is not noted as sent',
    action: 'get the whole file and ship it again; records that were sent already collapse',
    retryable: false,
  },
  FILE_UNWRITABLE: {
    meaning: 'a file cannot be written',
    action: 'mend the path, the permissions of its folder, or make room on its disk',
    retryable: false,
  },
  RECORD_TOO_LONG: {
    meaning: 'a line is longer than a Kafka message may be; ship sends the others',
    action:
      'look at the line that the message names; if it is a record, raise ship.message_bytes_max and the max.message.bytes of the topic, and ship the file with --again',
    retryable: false,
  },
  IDLE_WITH_ERRORS: {
    meaning: 'ingest --until-idle could not read every partition to its end',
    action: 'see the messages before this one',
    retryable: false,
  },
  AUDIT_DIFFERS: {
    meaning: 'the ledger, the tables and the dead letters do not agree',
    action: 'look at the ranges that audit lists; ingest rewind reads a range again while Kafka holds it',
    retryable: false,
  },
  CLOCK_WRONG: {
    meaning:
      'the clock by which calls would be judged overdue does not fit this host, the ledger or the newest record',
    action:
      'mend the clock of the database or of this host; where nothing was sent for long and the clock is right, repeat with --trust-clock or raise retention.silence_days_max',
    retryable: false,
  },
  SWEEP_TABLES_DIFFER: {
    meaning: 'cdr and cdr_by_number hold other calls of what is due, so that nothing of that month was swept',
    action:
      'cdrhouse audit says which ranges differ; mend that (a detached part, a restored table) and sweep again',
    retryable: false,
  },
  SWEEP_UNPROVEN: {
    meaning:
      'after a sweep something is not as its proof must say: overdue calls are left, or others are gone; or (refused) a call under a legal hold is not in cdr_held, and nothing of the month was swept',
    action: 'look at retention_proofs and at the mutations of the database, then sweep again',
    retryable: false,
  },
  SWEEP_UNFINISHED: {
    meaning: 'a sweep was broken off in the middle, under the term that is to be changed',
    action: 'run cdrhouse retention sweep, which finishes it, and try again',
    retryable: false,
  },
  RETENTION_BUSY: {
    meaning:
      'another retention command (sweep, hold, release, term, erase, rectify) is at work on this database',
    action: 'wait until it has ended, and try again',
    retryable: true,
  },
  HOLD_UNKNOWN: {
    meaning: 'no legal hold of this id is in force',
    action: 'see cdrhouse retention holds',
    retryable: false,
  },
  ADDRESS_UNUSABLE: {
    meaning:
      'a service cannot listen on its address: another program has the port, or the host is not this one',
    action: 'choose a free port (CDRHOUSE_QUERY_PORT, CDRHOUSE_QUERY_METRICS_PORT, ship --listen; 0: any)',
    retryable: false,
  },
  KEY_UNKNOWN: {
    meaning: 'no API key of this id',
    action: 'see cdrhouse keys list',
    retryable: false,
  },
  KEY_NOT_ROTATED: {
    meaning: 'the journal has another key than the one that was just made',
    action: 'compare the clocks of this machine and of the database, then run it again',
    retryable: false,
  },
  CORRECTION_OPEN: {
    meaning: 'another correction of the same call was begun and is not finished',
    action: 'call its command again (cdrhouse subject list --due has its request), then this one',
    retryable: false,
  },
  CORRECTION_UNDONE: {
    meaning:
      'a call was read again under other settings of its feed while it was corrected; nothing was corrected',
    action: 'when ingest has read it, look for its id and correct it again if it is still wrong',
    retryable: false,
  },
  REQUEST_UNKNOWN: {
    meaning: 'no request of a person has this id',
    action: 'see cdrhouse subject list',
    retryable: false,
  },
  INTERNAL: {
    meaning: 'a defect of cdrhouse',
    action: 'report it with the log around it',
    retryable: false,
  },
} as const satisfies Record<string, ProgramError>;
export type ProgramErrorCode = keyof typeof PROGRAM_ERRORS;

/** Problems of the HTTP API (`code` of application/problem+json), with their status and title. */
export const HTTP_PROBLEMS = {
  KEY_MISSING: { status: 401, title: 'Send an API key: Authorization: Bearer …' },
  KEY_INVALID: { status: 401, title: 'This API key is unknown, revoked or expired' },
  ROLE_MISSING: { status: 403, title: 'This API key has no role for this request' },
  PARAMETER_UNKNOWN: { status: 400, title: 'A parameter is not known here' },
  PARAMETER_INVALID: { status: 400, title: 'A parameter has a value that is not allowed' },
  PARAMETER_MISSING: { status: 400, title: 'A parameter is missing' },
  HEADER_MISSING: { status: 400, title: 'A header is missing' },
  HEADER_INVALID: { status: 400, title: 'A header has a value that is not allowed' },
  RANGE_INVALID: { status: 400, title: 'The time range is empty or longer than allowed' },
  CURSOR_INVALID: { status: 400, title: 'The cursor is damaged or belongs to another search' },
  CALL_WITHHELD: {
    status: 403,
    title: 'Whose call this is asked that it is not shown; a key with privacy beside disputes sees it',
  },
  PURPOSE_REFUSED: { status: 403, title: 'Whose number this is objected to this purpose' },
  CALL_UNKNOWN: { status: 404, title: 'There is no call of this id, or none any more' },
  USAGE_CHANGED: { status: 409, title: 'The calls changed since the first page; begin with it again' },
  TALK_MISSING: {
    status: 422,
    title: 'The talk of some calls is unknown, so that they cannot be billed by talk',
  },
  ROUTE_UNKNOWN: { status: 404, title: 'There is nothing here' },
  METHOD_NOT_ALLOWED: { status: 405, title: 'This method is not allowed here' },
  REQUEST_INVALID: { status: 400, title: 'The request cannot be read' },
  REQUEST_TIMEOUT: { status: 408, title: 'The request did not arrive in time' },
  HEADERS_TOO_LARGE: { status: 431, title: 'The URL and headers are too large' },
  BODY_TOO_LARGE: { status: 413, title: 'The request is too large' },
  BODY_INVALID: { status: 400, title: 'The request body cannot be read' },
  QUERY_TOO_LARGE: { status: 422, title: 'The answer needs more work than one request may do; narrow it' },
  DATABASE_UNAVAILABLE: { status: 503, title: 'The database does not answer; try again' },
  JOURNAL_UNAVAILABLE: {
    status: 503,
    title: 'The look-up cannot be written to the journal, so it is not answered',
  },
  ADDRESS_NOT_ALLOWED: { status: 403, title: 'This API key may not be used from this address' },
  RATE_LIMITED: { status: 429, title: 'This key asks more often than it may; try again later' },
  KEYS_THROTTLED: { status: 429, title: 'Too many wrong API keys come from this address; try again later' },
  ISSUER_UNAVAILABLE: { status: 503, title: 'The keys of the token issuer cannot be read; try again' },
  INTERNAL: { status: 500, title: 'A defect of cdrhouse' },
} as const satisfies Record<string, { status: number; title: string }>;
export type HttpProblemCode = keyof typeof HTTP_PROBLEMS;

/**
 * An error of the catalogue. `message` says what happened in this case, without personal data; `action`
 * what to do about it; `cause` is the error below it.
 */
export class CdrhouseError extends Error {
  override readonly name = 'CdrhouseError';
  readonly code: ProgramErrorCode;

  constructor(code: ProgramErrorCode, detail: string, cause?: unknown) {
    super(detail, cause === undefined ? undefined : { cause });
    this.code = code;
  }

  get retryable(): boolean {
    return PROGRAM_ERRORS[this.code].retryable;
  }

  get action(): string {
    return PROGRAM_ERRORS[this.code].action;
  }
}
