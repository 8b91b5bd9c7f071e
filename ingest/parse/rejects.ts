import type { RejectCode } from '../../schemas/errors.ts';

/** A record that was rejected: what is wrong, and its bytes `[start, end)` in the batch's memory. */
export interface Reject {
  readonly source: number;
  readonly offset: number;
  /** Line of the message, from 1. */
  readonly line: number;
  readonly code: RejectCode;
  /** Name of the field at fault; empty where it is the whole line. */
  readonly field: string;
  /** Byte of the record at which the fault begins, from 0. */
  readonly position: number;
  readonly start: number;
  readonly end: number;
  readonly messageAtMs: number;
}
