import { SORTING_KEYS } from '../schemas/tables.ts';
import { keptCondition, type Term } from './term-sql.ts';

/**
 * Calls that only a legal hold keeps: their term is over, so that no other read gives them, and a hold in force has a copy
 * of them in `cdr_held`. Shown to the role `legal` alone.
 */

/** A call is copied for each hold that it falls under. */
export const ONCE = `LIMIT 1 BY ${SORTING_KEYS.cdr}`;

/** Conditions on rows of `cdr_held`; values by `termParameters`. */
export function heldConditions(database: string, term: Term): string[] {
  return [
    // What has ended goes with the next sweep, and is not shown until then.
    `hold_id IN (SELECT hold_id FROM ${database}.legal_holds FINAL WHERE released_at IS NULL AND until_at > now64(3))`,
    `NOT (${keptCondition(term)})`,
  ];
}
