import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

/**
 * docs/demo.svg, the picture of README.md: what `make demo` says in a real run, and what one of the lines that it prints
 * answers. Numbers are synthetic; the API key, which goes with its folder, is left out.
 */
const PROGRAM = fileURLToPath(new URL('../cli.js', import.meta.url));
const PICTURE = fileURLToPath(new URL('../../docs/demo.svg', import.meta.url));
const SECONDS = 40;
/** Of the answer, as far as one call goes. */
const ANSWER_LINES = 19;
const LOOK_UP_MS_MAX = 120_000;
const COLUMNS = 104;
const [LINE_HEIGHT, CHARACTER_WIDTH, MARGIN] = [18, 7.83, 24];

/** What the demo said, and what the look-up that it proposes answered meanwhile. */
async function run(folder: string): Promise<{ said: string; asked: string; answer: string }> {
  const demo = spawn(
    process.execPath,
    [PROGRAM, 'demo', '--seconds', String(SECONDS), '--data-dir', folder],
    { stdio: ['ignore', 'pipe', 'pipe'] },
  );
  let said = '';
  for (const stream of [demo.stdout, demo.stderr])
    stream.on('data', (chunk: Buffer) => (said += chunk.toString()));
  const ended = once(demo, 'close');
  const proposed = /^ {2}(curl .*\/v1\/calls.*)$/m;
  const deadline = Date.now() + LOOK_UP_MS_MAX;
  // A line of the rate, so that there is something to look up.
  while (!(proposed.test(said) && /^[1-9][0-9,]* records/m.test(said))) {
    if (demo.exitCode !== null || Date.now() > deadline)
      throw new Error(`the demo did not come so far:\n${said}`);
    await sleep(100);
  }
  const asked = `${proposed.exec(said)![1]!.replace('limit=3', 'limit=1')} | python3 -m json.tool --indent 2 | head -n ${ANSWER_LINES}`;
  const { stdout: answer } = await promisify(execFile)('sh', ['-c', asked]);
  const [code] = (await ended) as [number | null];
  if (code !== 0) throw new Error(`the demo ended with ${code}:\n${said}`);
  return { said, asked, answer };
}

/** Lines of at most so many columns. */
function wrapped(line: string): string[] {
  if (line.length <= COLUMNS) return [line];
  const at = line.lastIndexOf(' ', COLUMNS - 2);
  const cut = at > 10 ? at : COLUMNS - 2;
  return [`${line.slice(0, cut)} \\`, ...wrapped(`    ${line.slice(cut).trimStart()}`)];
}

function escaped(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;');
}

function svg(lines: readonly string[]): string {
  const width = Math.ceil(COLUMNS * CHARACTER_WIDTH) + 2 * MARGIN;
  const height = lines.length * LINE_HEIGHT + 2 * MARGIN;
  const texts = lines.map(
    (line, index) =>
      `<text x="${MARGIN}" y="${MARGIN + (index + 1) * LINE_HEIGHT - 5}"${line.startsWith('$') ? ' fill="#7ee787"' : ''} xml:space="preserve">${escaped(line)}</text>`,
  );
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}">
<rect width="100%" height="100%" rx="8" fill="#0d1117"/>
<g font-family="ui-monospace, SFMono-Regular, Menlo, Consolas, monospace" font-size="13" fill="#e6edf3">
${texts.join('\n')}
</g>
</svg>
`;
}

const folder = mkdtempSync(join(tmpdir(), 'cdrhouse-picture-'));
try {
  const { said, asked, answer } = await run(folder);
  const [key] = /(?<=Bearer )[^']+/.exec(asked)!;
  const shown = (text: string): string => text.replaceAll(key, '…').replaceAll(folder, '.cdrhouse/demo');
  const lines = [
    `$ make demo SECONDS=${SECONDS}`,
    ...shown(said).trimEnd().split('\n'),
    '',
    `$ ${shown(asked)}`,
    ...shown(answer).trimEnd().split('\n'),
  ];
  writeFileSync(PICTURE, svg(lines.flatMap(wrapped)));
} finally {
  rmSync(folder, { recursive: true, force: true });
}
