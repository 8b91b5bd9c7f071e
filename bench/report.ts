import { mkdirSync, writeFileSync } from 'node:fs';
import { inOrder, reportPage } from './report-page.ts';
import { brokenOnes, isBroken, meaningsOf, summarise, type AnswerRow } from './report-summary.ts';
import { RESULTS } from './result.ts';
import { doubtsAbout, largestOfEachPart, readResults } from './saved-results.ts';
import { say } from './say.ts';
import { wrapped } from './table.ts';

/**
 * `make bench-report`: the largest result of each part as one summary on the terminal, and as a page with plots,
 * bench/results/report.html, which opens without a network. Exits 1 where a threshold or a check of ours is broken.
 */
const LINE_CHARACTERS = 120;

const all = readResults();
const results = inOrder(largestOfEachPart(all));
if (results.length === 0)
  throw new Error('bench/results/ holds nothing yet: make bench, or one of its parts, comes first');
const print = (heading: string, rows: readonly AnswerRow[]): void => {
  say(`\n${heading}`);
  for (const { what, value } of rows) say(wrapped(`${what}: ${value}`, LINE_CHARACTERS, '  '));
};
for (const { question, rows } of summarise(results)) print(question, rows);
print(
  'What the words mean',
  [...meaningsOf(results)].map(([what, value]) => ({ what, value })),
);
const doubts = doubtsAbout(results, all);
for (const doubt of doubts) say(`\n${wrapped(`NOTE: ${doubt}`, LINE_CHARACTERS, '')}`);
mkdirSync(RESULTS, { recursive: true });
const path = `${RESULTS}report.html`;
writeFileSync(path, reportPage(results, doubts));
say(`\nwritten to ${path}`);
for (const broken of brokenOnes(results)) say(wrapped(`BROKEN: ${broken}`, LINE_CHARACTERS, ''));
process.exitCode = isBroken(results) ? 1 : 0;
