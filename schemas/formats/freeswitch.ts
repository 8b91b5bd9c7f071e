import type { RecordShape } from './format.ts';

/**
 * The fields of a FreeSWITCH record by the names of its channel variables, behind `prefix`. Epochs are taken where they
 * are there: stamps are local times.
 */
export function freeswitchTimes(
  prefix: '' | 'variables.',
): Pick<RecordShape, 'start' | 'duration' | 'talk' | 'outcome' | 'account' | 'callId'> {
  return {
    start: [
      { at: `${prefix}start_uepoch`, notation: 'epoch-us' },
      { at: `${prefix}start_epoch`, notation: 'epoch-s' },
      { at: `${prefix}start_stamp`, notation: 'local' },
    ],
    // The same call has other values in ms and us, which are rounded apart: the units must not be mixed.
    duration: { at: `${prefix}duration`, unit: 's' },
    talk: { at: `${prefix}billsec`, unit: 's' },
    outcome: {
      rules: [
        { time: { at: `${prefix}answer_epoch`, notation: 'epoch-s' }, filled: 'answered' },
        { at: `${prefix}answer_stamp`, filled: 'answered' },
        {
          at: `${prefix}hangup_cause`,
          words: {
            USER_BUSY: 'busy',
            NO_ANSWER: 'no_answer',
            NO_USER_RESPONSE: 'no_answer',
            ALLOTTED_TIMEOUT: 'no_answer',
            PROGRESS_TIMEOUT: 'no_answer',
            ORIGINATOR_CANCEL: 'cancelled',
            LOSE_RACE: 'cancelled',
            PICKED_OFF: 'cancelled',
            CALL_REJECTED: 'failed',
            UNALLOCATED_NUMBER: 'failed',
            NO_ROUTE_DESTINATION: 'failed',
            INVALID_NUMBER_FORMAT: 'failed',
            DESTINATION_OUT_OF_ORDER: 'failed',
            NORMAL_CIRCUIT_CONGESTION: 'failed',
            SWITCH_CONGESTION: 'failed',
            NETWORK_OUT_OF_ORDER: 'failed',
            NORMAL_TEMPORARY_FAILURE: 'failed',
            RECOVERY_ON_TIMER_EXPIRE: 'failed',
            INCOMPATIBLE_DESTINATION: 'failed',
            USER_NOT_REGISTERED: 'failed',
            SUBSCRIBER_ABSENT: 'failed',
            GATEWAY_DOWN: 'failed',
            MEDIA_TIMEOUT: 'failed',
            SYSTEM_SHUTDOWN: 'failed',
          },
        },
      ],
      otherwise: 'unknown',
    },
    account: `${prefix}accountcode`,
    callId: `${prefix}uuid`,
  };
}
