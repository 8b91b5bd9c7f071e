import { mkdirSync, writeFileSync } from 'node:fs';
import { inOrder, reportPage } from './report-page.ts';
import { isBroken, summarise } from './report-summary.ts';
import { RESULTS } from './result.ts';
import { doubtsAbout, readNewestResults } from './saved-results.ts';

/**
 * `make bench-report`: the newest result of each part as one summary on the terminal, and as a page with plots,
 * bench/results/report.html, which opens without a network. Exits 1 where a threshold or a check of ours is broken.
 */
const results = inOrder(readNewestResults());
if (results.length === 0)
  throw new Error('bench/results/ holds nothing yet: make bench, or one of its parts, comes first');
for (const { question, rows } of summarise(results)) {
  const width = Math.max(...rows.map(({ what }) => what.length));
  const lines = rows.map(({ what, value }) => `  ${what.padEnd(width)}  ${value}\n`);
  process.stdout.write(`\n${question}\n${lines.join('')}`);
}
for (const doubt of doubtsAbout(results)) process.stdout.write(`\nNOTE: ${doubt}\n`);
mkdirSync(RESULTS, { recursive: true });
const path = `${RESULTS}report.html`;
writeFileSync(path, reportPage(results));
process.stdout.write(`\nwritten to ${path}\n`);
process.exitCode = isBroken(results) ? 1 : 0;
