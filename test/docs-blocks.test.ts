import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import tap from 'tap';
import { parse } from 'yaml';
import { CdrhouseError } from '../schemas/errors.ts';
import { checkSettings } from '../schemas/settings.ts';
import { allCommands, commandLine, faultOf, faultOfName, isDone } from './command-line.ts';
import { codesIn, guides, root, shellCommands } from './documents.ts';

/*
 * Every block of the documents is what its language says, and what it says of ours is there: commands with their options,
 * targets of make, settings. A block that is not ours has a language of its own (a switch's configuration: ini, xml, text …).
 */

const documents = guides();
const program = await commandLine();
const blocks = documents.flatMap((document) => document.blocks);
const blocksOf = (language: string) => blocks.filter((block) => block.language === language);

/** A line that starts a program in a unit of systemd. */
const STARTED = /^Exec\w+=(.*)$/gm;
const scripts = [
  ...blocksOf('sh'),
  ...blocksOf('ini').map((block) => ({
    ...block,
    text: [...block.text.matchAll(STARTED)].map(([, line]) => line).join('\n'),
  })),
];
const commands = scripts.flatMap(({ text, place }) => shellCommands(text).map((words) => ({ words, place })));
const isProgram = (word: string | undefined): boolean =>
  word === 'cdrhouse' || /(^|\/)cli\.js$/.test(word ?? '');
const written = commands
  .filter(({ words }) => isProgram(words[0]))
  .map(({ words, place }) => ({ words: words.slice(1), place }));

/** Texts between backticks that name a command, with the program's name before it or without. */
const topCommands = new Set(program.commands.map((command) => command.name()));
const named = documents.flatMap((document) =>
  codesIn(document).flatMap((code) => {
    const [words = []] = shellCommands(code);
    const place = `${document.path}: \`${code}\``;
    if (isProgram(words[0])) return [{ words: words.slice(1), place }];
    return topCommands.has(words[0]!) ? [{ words, place }] : [];
  }),
);

const LANGUAGES: ReadonlySet<string> = new Set([
  'sh',
  'yaml',
  'json',
  'jsonl',
  'sql',
  'promql',
  'text',
  'ini',
  'xml',
  'mermaid',
  'yml',
]);

await tap.test('every block says what it is written in', async (t) => {
  t.ok(blocks.length > 50);
  for (const { language, place } of blocks)
    t.ok(LANGUAGES.has(language), `${place}: ${language || 'no language'}`);
});

await tap.test('scripts are such', async (t) => {
  // One shell reads all of them: what it finds wrong it names by block.
  const script = blocksOf('sh')
    .map(({ text }, index) => `block_${index}() {\n:\n${text}\n}\n`)
    .join('');
  execFileSync('bash', ['-n'], { input: script, stdio: ['pipe', 'pipe', 'inherit'] });
  t.ok(blocksOf('sh').length > 20);
});

await tap.test('every command line is one that the program takes', async (t) => {
  t.ok(written.length > 40);
  for (const { words, place } of written)
    t.equal(await faultOf(program, words), undefined, `${place}: cdrhouse ${words.join(' ')}`);
});

await tap.test('every command that a text names is there, with its options', async (t) => {
  t.ok(named.length > 100);
  for (const { words, place } of named) t.equal(faultOfName(program, words), undefined, place);
});

await tap.test('every command stands in a document', async (t) => {
  const documented = [...written, ...named].map(({ words }) => `${words.join(' ')} `);
  for (const { words, command } of allCommands(program)) {
    if (!isDone(command)) continue;
    const name = words.slice(1).join(' ');
    t.ok(
      documented.some((line) => line.startsWith(`${name} `)),
      name,
    );
  }
});

await tap.test('every target of make is there', async (t) => {
  const targets = new Set(
    [...readFileSync(resolve(root, 'Makefile'), 'utf8').matchAll(/^([a-z-]+):/gm)].map(([, name]) => name),
  );
  const inText = documents.flatMap((document) =>
    codesIn(document)
      .filter((code) => code.startsWith('make '))
      .map((code) => ({ words: code.split(' '), place: `${document.path}: \`${code}\`` })),
  );
  const made = [...commands, ...inText].filter(({ words }) => words[0] === 'make');
  t.ok(made.length > 5);
  for (const { words, place } of made) {
    const target = words.slice(1).find((word) => !word.includes('='));
    t.ok(targets.has(target), `${place}: make ${target}`);
  }
});

await tap.test('settings are such: a document, a part of one, or feeds', async (t) => {
  t.ok(blocksOf('yaml').length > 10);
  for (const { text, place } of blocksOf('yaml')) {
    const content: unknown = parse(text);
    const settings = Array.isArray(content) ? { feeds: content as unknown[] } : content;
    t.equal(wrongIn(settings), '', place);
  }
});

function wrongIn(settings: unknown): string {
  try {
    checkSettings(settings);
    return '';
  } catch (error) {
    if (error instanceof CdrhouseError) return error.message;
    throw error;
  }
}

await tap.test('JSON is such', async (t) => {
  for (const { text, place } of blocksOf('json')) t.doesNotThrow(() => void JSON.parse(text), place);
  for (const { text, place } of blocksOf('jsonl'))
    for (const line of text.trim().split('\n')) t.doesNotThrow(() => void JSON.parse(line), place);
});
