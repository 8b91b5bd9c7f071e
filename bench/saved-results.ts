import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { RESULTS, type SavedResult } from './result.ts';

/** All results, in the order of their ends. */
export function readResults(folder = RESULTS): SavedResult[] {
  if (!existsSync(folder)) return [];
  return readdirSync(folder)
    .filter((name) => name.endsWith('.json'))
    .map((name) => JSON.parse(readFileSync(join(folder, name), 'utf8')) as SavedResult)
    .sort((a, b) => (a.at < b.at ? -1 : 1));
}

/**
 * Of each part the result on the most data, and of those on as much the newest: `make bench` takes less for some parts
 * than their own commands do.
 * @param all in the order of their ends
 */
export function largestOfEachPart(all: readonly SavedResult[]): SavedResult[] {
  const largest = new Map<string, SavedResult>();
  for (const result of all) {
    const other = largest.get(result.part);
    if (other === undefined || dataOf(other).count <= dataOf(result).count) largest.set(result.part, result);
  }
  return [...largest.values()].map(measuredOnly);
}

/** On how many calls or records a part was measured; of several numbers the largest. The text is empty where it has no such number. */
export function dataOf({ settings }: Pick<SavedResult, 'settings'>): {
  readonly count: number;
  readonly text: string;
} {
  const unit = ['calls', 'records'].find((name) => name in settings);
  if (unit === undefined) return { count: 0, text: '' };
  const counts = [settings[unit]].flat().map(Number);
  const count = Math.max(...counts);
  return { count, text: `${counts.length > 1 ? 'up to ' : ''}${count.toLocaleString('en')} ${unit}` };
}

/** Without values that were no numbers, which JSON has as null: nothing was measured there. */
function measuredOnly(result: SavedResult): SavedResult {
  const figures = result.figures
    .map((figure) => ({ ...figure, values: figure.values.filter(Number.isFinite) }))
    .filter(({ values }) => values.length > 0);
  return { ...result, figures };
}

/**
 * What a reader must know who takes these results together.
 * @param all what they were taken out of
 */
export function doubtsAbout(results: readonly SavedResult[], all: readonly SavedResult[] = []): string[] {
  const doubts: string[] = [];
  const newer = all.filter(({ part, at }) => results.some((shown) => shown.part === part && shown.at < at));
  if (newer.length > 0)
    doubts.push(
      `Newer results on less data are not shown: ${newer.map((result) => `${result.part} (${dataOf(result).text}, ${result.at})`).join(', ')}.`,
    );
  const differ = (what: string, of: (result: SavedResult) => string): void => {
    const parts = results.map((result) => `${result.part}: ${of(result)}`);
    if (new Set(results.map(of)).size > 1)
      doubts.push(`The parts were measured ${what} (${parts.join(', ')}).`);
  };
  differ('at different commits', ({ host }) => host.commit);
  differ('on different machines', ({ host }) => `${host.cores} × ${host.cpu}`);
  const changed = results.filter(({ host }) => host.commit.endsWith('-dirty'));
  if (changed.length > 0)
    doubts.push(
      `Measured with changes that are in no commit: ${changed.map(({ part }) => part).join(', ')}.`,
    );
  const busy = results.filter(({ others_cores: cores }) => cores > BUSY_CORES);
  if (busy.length > 0)
    doubts.push(
      `Other programs used the machine while these parts were measured, which raises absolute figures: ` +
        `${busy.map(({ part, others_cores: cores }) => `${part} (${cores.toFixed(2)} cores)`).join(', ')}. Read ratios within one part.`,
    );
  return doubts;
}

/** The kernel itself, which writes what is to be on disk, uses a little. */
const BUSY_CORES = 0.2;
