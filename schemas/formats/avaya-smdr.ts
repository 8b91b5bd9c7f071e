import type { Format } from './format.ts';

/**
 * Avaya IP Office SMDR: lines of 30 columns and more, not quoted. Source: the SMDR chapter of its manual. All parts of a
 * transferred call have the same start and call id; all but the last have continuation 1.
 */
export const avayaSmdr: Format = {
  name: 'avaya-smdr',
  version: 1,
  summary: 'Avaya IP Office SMDR',
  syntax: { kind: 'delimited', separator: ',', quotes: 'none', columns: { by: 'position' } },
  records: [
    {
      callingNumber: { at: 3, reading: 'uri' },
      dialedNumber: { at: [6, 5], reading: 'uri' },
      start: { at: 0, notation: 'yyyy/MM/dd HH:mm:ss' },
      // Connected, ringing, on hold, parked.
      duration: {
        at: 1,
        unit: 'hh:mm:ss',
        plus: [
          { at: 2, unit: 's' },
          { at: 15, unit: 's' },
          { at: 16, unit: 's' },
        ],
      },
      talk: { at: 1, unit: 'hh:mm:ss' },
      outcome: { rules: [{ at: 1, filled: 'answered' }], otherwise: 'no_answer' },
      direction: [
        { at: 8, words: { '1': 'internal' } },
        { at: 4, words: { I: 'inbound', O: 'outbound' } },
      ],
      account: 7,
      callId: 9,
    },
  ],
  about: {
    zone: 'local time of the system',
    duration:
      'duration: connected, ringing, hold and park time together, each rounded up to seconds; talk: connected time without hold and park',
    identity: 'the bytes of the line: the parts of a call share their call id',
    gaps: 'call ids grow by one, but skip and begin anew after a restart',
    billing: 'direction = outbound and talk above 0; add up the parts of a call id',
  },
};
