import tap from 'tap';
import { spellingPattern } from '../../schemas/number-spelling.ts';

const finds = (number: string, text: string): boolean => new RegExp(spellingPattern(number)).test(text);

await tap.test('a number is found in each of its spellings', async (t) => {
  for (const text of ['+33199000001', '0033199000001', '33199000001', '0199000001', '199000001'])
    for (const around of [text, `x,${text},y`, `"${text}"`, `sip:${text}@pbx`])
      t.ok(finds('+33199000001', around), around);
  t.ok(finds('+12025550123', '"12025550123"'));
  t.ok(finds('+12025550123', '2025550123'));
});

await tap.test('another number is not', async (t) => {
  for (const text of [
    '+33199000002',
    '+331990000011',
    '1199000001',
    '49199000001',
    '+49199000001',
    '01990000012',
  ])
    t.notOk(finds('+33199000001', `x,${text},y`), text);
});

await tap.test('a text that is no E.164 number is found as it is', async (t) => {
  t.ok(finds('*72', 'a,*72,b'));
  t.notOk(finds('*72', 'a,*721,b'));
  t.notOk(finds('1002', '21002'));
});
