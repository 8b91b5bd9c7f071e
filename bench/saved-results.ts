import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { RESULTS, type SavedResult } from './result.ts';

/** The newest result of each part, in the order of their ends. */
export function readNewestResults(folder = RESULTS): SavedResult[] {
  if (!existsSync(folder)) return [];
  const all = readdirSync(folder)
    .filter((name) => name.endsWith('.json'))
    .map((name) => JSON.parse(readFileSync(join(folder, name), 'utf8')) as SavedResult);
  return newestOfEachPart(all);
}

export function newestOfEachPart(all: readonly SavedResult[]): SavedResult[] {
  const newest = new Map<string, SavedResult>();
  for (const result of all) {
    const other = newest.get(result.part);
    if (other === undefined || other.at < result.at) newest.set(result.part, result);
  }
  return [...newest.values()].map(measuredOnly).sort((a, b) => (a.at < b.at ? -1 : 1));
}

/** Without values that were no numbers, which JSON has as null: nothing was measured there. */
function measuredOnly(result: SavedResult): SavedResult {
  const figures = result.figures
    .map((figure) => ({ ...figure, values: figure.values.filter(Number.isFinite) }))
    .filter(({ values }) => values.length > 0);
  return { ...result, figures };
}

/** What a reader must know who takes these results together. */
export function doubtsAbout(results: readonly SavedResult[]): string[] {
  const doubts: string[] = [];
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
  const busy = results.filter(({ host }) => host.load_before > BUSY_LOAD);
  if (busy.length > 0)
    doubts.push(
      `The machine was busy when these parts began (other programs, or the part before), which raises absolute figures: ` +
        `${busy.map(({ part, host }) => `${part} (load ${host.load_before.toFixed(1)})`).join(', ')}. Read ratios within one part.`,
    );
  return doubts;
}

/** A part that begins right after another one finds the last minute of that one, too. */
const BUSY_LOAD = 2.5;
