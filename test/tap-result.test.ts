import tap from 'tap';
import { readTapResult } from './tap-result.ts';

const goodFile = `# Subtest: dist/test/a.test.js
    # Subtest: one
        ok 1 - should be equal
        ok 2 - should match pattern
        1..2
    ok 1 - one # time=4.02ms

    1..1
    # time=15.983ms
ok 1 - dist/test/a.test.js # time=15.983ms
`;

await tap.test('counts the assertions that tap counted', async (t) => {
  const text = `TAP version 14\n1..1\n${goodFile}\n# { total: 2, pass: 2 }\n# time=1206.925ms\n`;
  t.strictSame(readTapResult(text, ['dist/test/a.test.js']), {
    passed: 2,
    failed: 0,
    files: ['ok 1 - dist/test/a.test.js # time=15.983ms'],
    failedFiles: [],
    problems: [],
  });
});

await tap.test('counts failed assertions', async (t) => {
  const text = `1..1\nnot ok 1 - dist/test/a.test.js # time=1ms\n# { total: 5, pass: 3, fail: 2 }\n`;
  t.match(readTapResult(text, ['dist/test/a.test.js']), {
    passed: 3,
    failed: 2,
    failedFiles: ['dist/test/a.test.js'],
  });
});

await tap.test('a failed assertion is shown with its explanation', async (t) => {
  const explained = [
    '        not ok 1 - one is two',
    '          ---',
    '          at:',
    '            lineNumber: 2',
    '          diff: |',
    '            -2',
    '            +1',
    '          source: |',
    '            t.equal(1, 2)',
    '          ...',
    '        1..1',
    '    not ok 1 - outer # time=44.234ms',
    '      ---',
    '      ...',
    'not ok 1 - dist/test/a.test.js # time=1ms',
    '# { total: 1, pass: 0, fail: 1 }',
  ].join('\n');
  t.match(readTapResult(explained, ['dist/test/a.test.js']), {
    failed: 1,
    problems: [/^not ok 1 - one is two\n {2}diff: \|\n {4}-2\n {4}\+1$/],
  });
});

/** tap's line for a file that failed, and what it says behind it. */
function failedFile(name: string, ...explained: string[]): string[] {
  const path = `dist/test/${name}.test.js`;
  return [`not ok 1 - ${path} # time=1ms`, '  ---', '  args:', `    - ${path}`, ...explained, '  ...', ''];
}

await tap.test('a file whose process was ended by a signal', async (t) => {
  const text = [
    ...failedFile('exit', '  exitCode: 1'),
    ...failedFile('crash', '  exitCode: null', '  signal: SIGSEGV'),
    ...failedFile('other', '  exitCode: 1', '  signal: null'),
    '# { total: 1, pass: 1 }',
  ].join('\n');
  const names = ['exit', 'crash', 'other'].map((name) => `dist/test/${name}.test.js`);
  t.strictSame(readTapResult(text, names).problems, ['dist/test/crash.test.js was ended by SIGSEGV']);
});

await tap.test('a file that ran no test has failed', async (t) => {
  const skipped = 'ok 1 - dist/test/a.test.js # SKIP no tests found\n# { total: 1, skip: 1 }\n';
  t.match(readTapResult(skipped, ['dist/test/a.test.js']), {
    failed: 1,
    problems: ['dist/test/a.test.js ran no test'],
  });
  const empty = '    1..0\nok 1 - dist/test/a.test.js # time=1ms\n# { total: 0, pass: 0 }\n';
  t.match(readTapResult(empty, ['dist/test/a.test.js']), { failed: 1 });
});

await tap.test('a file that is missing, and an output that was broken off, have failed', async (t) => {
  const text = `1..2\n${goodFile}\n# { total: 2, pass: 2 }\n`;
  t.match(readTapResult(text, ['dist/test/a.test.js', 'dist/test/b.test.js']), { passed: 2, failed: 1 });
  t.match(readTapResult(goodFile, ['dist/test/a.test.js']), { passed: 0, failed: 1 });
});
