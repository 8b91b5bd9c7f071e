import type { Format, RecordShape } from './format.ts';
import { Q850_OUTCOMES } from './q850.ts';

/**
 * Ribbon (Sonus) SBC and GSX accounting files (`*.ACT`): the first column says what the columns behind it are. Fields with
 * parts are quoted. Source: Ribbon's CDR field descriptions, whose positions count from 1.
 */
export const ribbonAct: Format = {
  name: 'ribbon-act',
  version: 1,
  summary: 'Ribbon (Sonus) ACT files, STOP and ATTEMPT records',
  syntax: { kind: 'delimited', separator: ',', quotes: 'lenient', columns: { by: 'position' } },
  skip: [
    { at: 0, is: ['INTERMEDIATE'], reason: 'interim_record' },
    { at: 0, is: ['START'], reason: 'other_record' },
    { at: 0, is: ['REBOOT', 'RESET', 'SWITCHOVER', 'LSWU'], reason: 'marker' },
  ],
  records: [
    {
      ...common('STOP'),
      callingNumber: { at: 19, reading: 'uri' },
      dialedNumber: { at: 20, reading: 'uri' },
      duration: { at: 13, unit: 'ticks' },
      talk: { at: 13, unit: 'ticks' },
      outcome: { rules: [{ at: 0, words: { STOP: 'answered' } }], otherwise: 'unknown' },
    },
    {
      ...common('ATTEMPT'),
      callingNumber: { at: 16, reading: 'uri' },
      dialedNumber: { at: 17, reading: 'uri' },
      duration: { none: true },
      talk: { none: true },
      outcome: { rules: [{ at: 11, words: { ...Q850_OUTCOMES, '16': 'cancelled' } }], otherwise: 'unknown' },
    },
  ],
  about: {
    zone: 'GMT in older releases, local time of the node in newer ones: look at one call before the first shipment',
    duration: 'duration and talk: Call Service Duration in ticks of 10 ms; an ATTEMPT has none and is 0',
    identity: '(gateway, accounting id, record type)',
    gaps: 'none that proves them: how accounting ids are given out is not known',
    billing: 'outcome = answered and talk above 0 (STOP records)',
  },
};

function common(kind: 'STOP' | 'ATTEMPT'): Pick<RecordShape, 'when' | 'start' | 'callId' | 'recordId'> {
  return {
    when: { at: 0, is: [kind] },
    start: { at: 5, notation: 'MM/dd/yyyy', time: { at: 6, notation: 'HH:mm:ss.S' } },
    callId: 2,
    recordId: [1, 2, 0],
  };
}
