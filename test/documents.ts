import { readdirSync, readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

/** The documents as texts: their sections, blocks, and what stands in them for the command line. */

/** Path of the package's folder. */
export const root = resolve(fileURLToPath(new URL('../..', import.meta.url)));

/** A fenced block. */
export interface Block {
  /** What follows the fence: `sh`, `yaml` …; empty where nothing does. */
  readonly language: string;
  readonly text: string;
  /** Its name in a message: path and line. */
  readonly place: string;
}

export interface Document {
  /** From the package's folder. */
  readonly path: string;
  readonly text: string;
  /** The text without its blocks. */
  readonly prose: string;
  readonly blocks: readonly Block[];
  /** Of all headings, as links name them. */
  readonly anchors: ReadonlySet<string>;
  /** What stands under each heading of the second level, blocks and smaller headings included; first what stands before them. */
  readonly sections: readonly string[];
}

export function readDocument(path: string): Document {
  const text = readFileSync(resolve(root, path), 'utf8');
  const prose: string[] = [];
  const blocks: Block[] = [];
  const anchors = new Set<string>();
  const sections: string[][] = [[]];
  let open: { language: string; lines: string[]; place: string } | undefined;
  for (const [index, line] of text.split('\n').entries()) {
    const fence = /^ *```(\S*)/.exec(line);
    if (open === undefined && fence === null) {
      const heading = /^(#+) (.*)/.exec(line);
      if (heading !== null) anchors.add(anchorOf(heading[2]!));
      if (heading?.[1] === '##') sections.push([]);
      prose.push(line);
    } else if (open === undefined) {
      open = { language: fence![1]!, lines: [], place: `${path}:${index + 1}` };
    } else if (fence === null) {
      open.lines.push(line);
    } else {
      blocks.push({ language: open.language, text: `${open.lines.join('\n')}\n`, place: open.place });
      open = undefined;
    }
    sections.at(-1)!.push(line);
  }
  if (open !== undefined) throw new Error(`${open.place}: the block has no end`);
  return {
    path,
    text,
    prose: prose.join('\n'),
    blocks,
    anchors,
    sections: sections.map((lines) => lines.join('\n')),
  };
}

/** As GitHub makes it. */
function anchorOf(heading: string): string {
  return heading
    .toLowerCase()
    .replaceAll(/[^\p{L}\p{N}\p{M}_\- ]/gu, '')
    .replaceAll(' ', '-');
}

function documentsIn(folder: string): Document[] {
  return readdirSync(resolve(root, folder))
    .filter((name) => name.endsWith('.md'))
    .sort()
    .map((name) => readDocument(`${folder}/${name}`));
}

/** What users read: README.md and the pages of docs/. */
export function guides(): Document[] {
  return [readDocument('README.md'), ...documentsIn('docs')];
}

/** Why things are as they are, as of the day of the decision. */
export function decisions(): Document[] {
  return documentsIn('docs/decisions');
}

/** The block under the mark `<!-- tested: NAME -->`. */
export function markedBlock({ path, text }: Document, mark: string): string {
  const [, found] =
    new RegExp(`<!-- tested: ${mark} -->\\n\\n\`\`\`\\w+\\n(.*?)\`\`\``, 's').exec(text) ?? [];
  if (found === undefined) throw new Error(`${path} has no block ${mark}`);
  return found;
}

/** Texts between backticks, on one line each. */
export function codesIn({ prose }: Document): string[] {
  return [...prose.matchAll(/`([^`\n]+)`/g)].map(([, code]) => code!);
}

/** What may stand before a command: keywords of the shell, and programs that start another one. */
const BEFORE_COMMAND =
  /^(?:[!{]|then|do|else|if|while|until|exec|npx|nice|time|env|sudo|(?:\S*\/)?node|[A-Za-z_]\w*=.*)$/s;

/**
 * The commands of a script as words, without their redirections and what stands before them. What the shell would put in
 * (`$KEY`, `*.gz`) stays as it is written; commands in `$(…)` stand for themselves, unless they are quoted.
 */
export function shellCommands(script: string): string[][] {
  const commands: string[][] = [];
  let words: string[] = [];
  let word: string | undefined;
  let isRedirected = false;
  const endWord = (): void => {
    if (word !== undefined && !isRedirected) words.push(word);
    if (word !== undefined) isRedirected = false;
    word = undefined;
  };
  const endCommand = (): void => {
    endWord();
    while (words.length > 0 && BEFORE_COMMAND.test(words[0]!)) words.shift();
    if (words.length > 0) commands.push(words);
    words = [];
  };
  for (let at = 0; at < script.length; at++) {
    const character = script[at]!;
    const next = script[at + 1];
    if (character === '\\') {
      if (next !== '\n') word = (word ?? '') + (next ?? '');
      at++;
    } else if (character === "'" || character === '"') {
      let end = at + 1;
      while (end < script.length && script[end] !== character)
        end += script[end] === '\\' && character === '"' ? 2 : 1;
      word = (word ?? '') + script.slice(at + 1, end);
      at = end;
    } else if (character === '#' && word === undefined) {
      while (at + 1 < script.length && script[at + 1] !== '\n') at++;
    } else if (character === '$' && (next === '{' || next === '(')) {
      if (next === '{') {
        const end = script.indexOf('}', at);
        word = (word ?? '') + script.slice(at, end + 1);
        at = end;
      } else {
        endCommand();
        at++;
      }
    } else if (character === ' ' || character === '\t') {
      endWord();
    } else if (character === '<' || character === '>') {
      // The number of a file descriptor is no word of the command.
      if (word !== undefined && /^\d$/.test(word)) word = undefined;
      endWord();
      if (next === '&' || next === '>') at++;
      isRedirected = true;
    } else if ('\n;|&()'.includes(character)) {
      endCommand();
      isRedirected = false;
    } else word = (word ?? '') + character;
  }
  endCommand();
  return commands;
}
