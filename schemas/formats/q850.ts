import type { Outcome } from '../record.ts';

/**
 * What the release causes of ITU-T Q.850 say of a call that was not answered. Normal clearing is left out: who cleared
 * must be known to say whether the caller gave up.
 */
export const Q850_OUTCOMES: Readonly<Record<string, Outcome>> = {
  '1': 'failed',
  '3': 'failed',
  '17': 'busy',
  '18': 'no_answer',
  '19': 'no_answer',
  '20': 'failed',
  '21': 'failed',
  '22': 'failed',
  '27': 'failed',
  '28': 'failed',
  '34': 'failed',
  '38': 'failed',
  '41': 'failed',
  '42': 'failed',
  '47': 'failed',
  '57': 'failed',
  '58': 'failed',
  '88': 'failed',
  '102': 'failed',
  '127': 'failed',
};
