import fc from 'fast-check';
import tap from 'tap';
import { BatchMemory } from '../../../ingest/parse/batch-memory.ts';
import { AddressReader } from '../../../ingest/parse/number-address.ts';

const memory = new BatchMemory();

function read(text: string, reading: 'readUri' | 'readNameAddr' = 'readUri'): string {
  const bytes = Buffer.from(text);
  memory.prepare(2 * bytes.length);
  const at = memory.load(bytes);
  const reader = new AddressReader(memory);
  const topMax = memory.top + bytes.length;
  reader[reading](at, at + bytes.length);
  if (memory.top > topMax) throw new Error('more was written than the field has');
  return Buffer.from(memory.bytes.subarray(reader.start, reader.end)).toString();
}

await tap.test('of an address the number is taken', async (t) => {
  const cases: [field: string, number: string][] = [
    ['sip:+33199000001@192.0.2.7;user=phone', '+33199000001'],
    ['sip:+33199000001@192.0.2.7:5060;user=phone', '+33199000001'],
    ['SIPS:+33199000001@pbx.example', '+33199000001'],
    ['<sip:0199000001@192.0.2.7>;tag=as6f2a', '0199000001'],
    ['"Name" <sip:1002@pbx.example>', '1002'],
    ['"Name" <sip:1002@pbx.example>;tag=1;x=<y>', '1002'],
    ["'WIRELESS CALLER'<sip:12025550123@192.0.2.7:5060;user=phone>;tag=7", '12025550123'],
    ['Name without quotes <sip:1002@pbx.example>', '1002'],
    ['"a <b> c" <sip:1002@pbx.example>', '1002'],
    ['"a \\" <sip:7@x> b" <sip:1002@pbx.example>', '1002'],
    ['"not closed <sip:1002@pbx.example>', '1002'],
    ['<sip:1002@pbx.example', '1002'],
    ['sip:1002:secret@pbx.example', '1002'],
    ['sip:+33199000001;npdi=yes@pbx.example', '+33199000001'],
    ['sip:%2B33199000001@pbx.example', '+33199000001'],
    ['sip:%2b33199000001@pbx.example', '+33199000001'],
    ['sip:*31%230199000001@pbx.example', '*31#0199000001'],
    ['sip:+33199000001', '+33199000001'],
    ['sip:+33199000001;user=phone', '+33199000001'],
    ['sip:anonymous@anonymous.invalid', 'anonymous'],
    ['"Anonymous" <sip:anonymous@anonymous.invalid>;tag=1', 'anonymous'],
    ['sip:alice.martin@example.com', 'alice.martin'],
    ['tel:+33-1-99-00-00-01', '+33199000001'],
    ['tel:+33-1-99-00-00-01;phone-context=example.com', '+33199000001'],
    ['<tel:(0)1.99.00.00.01;phone-context=+33>', '0199000001'],
    ['TEL:1002;phone-context=pbx.example', '1002'],
    ['1002@192.0.2.7', '1002'],
    ['+33199000001@192.0.2.7', '+33199000001'],
    ['"Name" <+33199000001>', '+33199000001'],
    // The number only in the name.
    ['"12025550123" <sip:192.0.2.7>', '12025550123'],
    ['"12025550123" <sip:@192.0.2.7>;tag=1', '12025550123'],
  ];
  for (const [field, number] of cases) t.equal(read(field), number, field);
});

await tap.test('what is no address stays as it is', async (t) => {
  for (const field of [
    '',
    '1002',
    '+33199000001',
    '+33 1 99-00.00.01',
    '*72',
    '*31#0199000001',
    'anonymous',
    's',
    '@',
    '@host',
    'Name of somebody',
    'somebody @ home',
    '100%41',
    '"Name"',
    "'",
    '<',
    '<>',
    'sip:',
    'sip:pbx.example',
    'sip:192.0.2.7:5060',
    'sip:@pbx.example',
    '<sip:192.0.2.7>',
    'tel:',
    'tel:--',
    '"" <sip:192.0.2.7>',
    'été',
  ]) {
    t.equal(read(field), field, field);
  }
});

await tap.test('escapes of anything but printable ASCII stay', async (t) => {
  for (const user of ['%00', '%0A', '%C3%A9', '%7F', '%zz', '%2', '%', '1%', '%%', '%4']) {
    t.equal(read(`sip:${user}@pbx.example`), user);
  }
  t.equal(read('sip:%25%41@pbx.example'), '%A', 'decoded once');
});

await tap.test('name-addr: what stands in the brackets at the end', async (t) => {
  const cases: [field: string, number: string][] = [
    ['"Name" <+33199000001>', '+33199000001'],
    ['"" <8016>', '8016'],
    ['"a <b>" <1002>', '1002'],
    ['1002', '1002'],
    ['<1002', '<1002'],
    ['1002>', '1002>'],
    ['', ''],
  ];
  for (const [field, number] of cases) t.equal(read(field, 'readNameAddr'), number, field);
});

await tap.test(
  'any bytes are read, and what is taken stands in the field or is decoded from it',
  async () => {
    const piece = fc.constantFrom(
      'sip:',
      'tel:',
      '<',
      '>',
      '"',
      '\\',
      '@',
      ';',
      ':',
      '%2B',
      '%',
      '-',
      '+33',
      '1002',
      'x',
      ' ',
      '.',
    );
    fc.assert(
      fc.property(
        fc.oneof(
          fc.string({ unit: 'binary' }),
          fc.array(piece).map((all) => all.join('')),
        ),
        (field) => {
          const taken = read(field);
          // Every byte that is taken stands in the field in this order, where no escape was decoded.
          let at = 0;
          const decoded = field.replaceAll(/%2B/g, '+');
          for (const character of taken.replaceAll(/%2B/g, '+')) {
            at = decoded.indexOf(character, at) + 1;
            if (at === 0) return false;
          }
          return field === '' || taken !== '';
        },
      ),
      { numRuns: 2000 },
    );
  },
);
