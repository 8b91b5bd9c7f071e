import type { Format } from './format.ts';
import { freeswitchTimes } from './freeswitch.ts';

/**
 * FreeSWITCH's mod_json_cdr and mod_format_cdr: one document a leg. The variables are URL-encoded unless encode-values is
 * off. `callflow` has its newest entry first: what was dialed stands in the last one. Older releases repeat the key
 * instead of writing an array; of a repeated key the last value counts.
 */
export const freeswitchJson: Format = {
  name: 'freeswitch-json',
  version: 1,
  summary: 'FreeSWITCH mod_json_cdr, one document a line, URL-encoded or not',
  syntax: { kind: 'json', urlEncoded: true },
  records: [
    {
      callingNumber: {
        at: [profile('ani'), profile('caller_id_number')],
        reading: 'uri',
      },
      displayedCallerId: { at: profile('caller_id_number'), reading: 'uri' },
      dialedNumber: { at: profile('destination_number'), reading: 'uri' },
      ...freeswitchTimes('variables.'),
      recordId: ['variables.uuid', 'variables.hangup_cause'],
    },
  ],
  about: {
    zone: 'UTC: epochs; the stamps beside them are local',
    duration: 'duration: seconds from start to end, ringing included; talk: billsec, from answer to end',
    identity: '(uuid, hangup cause)',
    gaps: 'none',
    billing: 'outcome = answered and talk above 0; with both legs logged only one of them',
  },
};

function profile(field: string): string {
  return `callflow[-1].caller_profile.${field}|callflow.caller_profile.${field}`;
}
