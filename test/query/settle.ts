import { setImmediate as nextTurn } from 'node:timers/promises';

/** Long enough for what needs no more than some turns of the event loop. */
export async function settle(): Promise<void> {
  for (let turn = 0; turn < 5; turn++) await nextTurn();
}
