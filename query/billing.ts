import type { BILLING_BASES, MISSING_TALK, ROUNDINGS, UsageQuery } from '../schemas/api.ts';
import { Problem } from './problem.ts';

/** How the seconds that are billed for one call follow from its milliseconds. */
export interface BillingTerms {
  /** Seconds: a call with talk is billed the first increment at least, beyond it whole steps. */
  readonly first: number;
  readonly step: number;
  readonly basis: (typeof BILLING_BASES)[number];
  /** How milliseconds become whole seconds, before increments. */
  readonly roundMs: (typeof ROUNDINGS)[number];
  /** What becomes of calls whose talk is unknown, where talk is the basis. */
  readonly missingTalk: (typeof MISSING_TALK)[number];
}

/** What is added before the milliseconds are cut off. */
const ROUNDING_MS = { up: 999, half: 500, down: 0 } as const;

/**
 * The terms that a request names, undefined where it asks for no billing. Throws a Problem (PARAMETER_INVALID) for a
 * parameter that would have no effect.
 */
export function readBillingTerms(query: UsageQuery): BillingTerms | undefined {
  const { increment, basis, round_ms: roundMs, missing_talk: missingTalk } = query;
  if (increment === undefined) {
    for (const [name, value] of Object.entries({ basis, round_ms: roundMs, missing_talk: missingTalk })) {
      if (value !== undefined)
        throw new Problem('PARAMETER_INVALID', `${name}: has no meaning without increment`);
    }
    return undefined;
  }
  if (basis === 'duration' && missingTalk !== undefined)
    throw new Problem('PARAMETER_INVALID', 'missing_talk: has no meaning with basis=duration');
  const [first, step] = increment.split('/').map(Number);
  return {
    first: first!,
    step: step!,
    basis: basis ?? 'talk',
    roundMs: roundMs ?? 'up',
    missingTalk: missingTalk ?? 'refuse',
  };
}

/**
 * SQL of the seconds that are billed for a row of a call table, Int64: 0 for a call without talk, else the first
 * increment and as many steps as cover the rest. Values by `billedParameters`.
 */
export function billedSql({ basis, missingTalk }: BillingTerms): string {
  const unknown = missingTalk === 'duration' ? 'duration_ms' : '0';
  const ms = basis === 'duration' ? 'duration_ms' : `ifNull(talk_ms, ${unknown})`;
  const seconds = `intDiv(toInt64(${ms}) + {rounding_ms: Int64}, 1000)`;
  const beyond = `greatest(${seconds} - {increment_first: Int64}, 0)`;
  const steps = `intDiv(${beyond} + {increment_step: Int64} - 1, {increment_step: Int64})`;
  return `if(${seconds} = 0, 0, {increment_first: Int64} + ${steps} * {increment_step: Int64})`;
}

export function billedParameters({ first, step, roundMs }: BillingTerms): Record<string, number> {
  return { increment_first: first, increment_step: step, rounding_ms: ROUNDING_MS[roundMs] };
}
