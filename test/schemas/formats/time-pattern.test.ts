import tap from 'tap';
import { checkTimeNotation, compileTime, TIME_NAMES } from '../../../schemas/formats/time-pattern.ts';

function check(zones: Record<string, string>): string | undefined {
  return checkTimeNotation('HH:mm:ss.SSS zzz MMM dd yyyy', { zones });
}

await tap.test('names and patterns of real switches are allowed', async (t) => {
  for (const notation of [
    ...TIME_NAMES,
    'yyyy-MM-dd HH:mm:ss',
    'yyyy/MM/dd HH:mm:ss',
    'yyyy/M/d H:mm[:ss]',
    'dd.MM.yyyy HH:mm[:ss[.u]]',
    'MM/dd/yyyy HH:mm:ss.S',
    'yyyyMMddHHmmss[.SSS]',
    'HH:mm:ss.SSS zzz MMM dd yyyy',
    "yyyy-MM-dd HH:mm:ss ZZZ 'UTC'",
    "yyyy-MM-dd'T'HH:mm:ss[ ZZ]",
    'EEE MMM d HH:mm:ss yyyy',
    'MM/dd/yy hh:mm:ss a',
    'yyMMddHHmmssZZZ',
  ]) {
    t.equal(checkTimeNotation(notation), undefined, notation);
    t.doesNotThrow(() => compileTime(notation));
  }
  t.equal(checkTimeNotation('MM/dd/yyyy', { parts: 'date' }), undefined);
  t.equal(checkTimeNotation('HH:mm:ss.S', { parts: 'time' }), undefined);
});

await tap.test(
  'what cannot be read without a guess is refused, and the message says what is allowed',
  async (t) => {
    const refused: readonly (readonly [string, RegExp])[] = [
      ['YYYY-MM-DD HH:mm:ss', /"YYYY" is unknown; .*iso-or-epoch.*yyyy yy MM/s],
      ['yyyy-MM-ddTHH:mm:ss', /"T" is unknown; .*single quotes/s],
      ['yyyy-MM-dd HH:mm:ss z', /"z" is unknown/],
      ['', /1 to 100 characters/],
      [`yyyy-MM-dd HH:mm${' '.repeat(100)}`, /1 to 100 characters/],
      ['yyyy-MM HH:mm', /year, month and day are needed/],
      ['yyyy-MM-dd', /hour and minute are needed/],
      ['HH:mm:ss', /year, month and day are needed/],
      ['yyyy-MM-dd HH', /hour and minute are needed/],
      ['yyyy-MM-dd HH:mm.S', /a fraction needs seconds/],
      ['yyyy-MM-dd MM HH:mm', /the month occurs twice/],
      ['yyyy-MM-dd HH:mm:ss.SSS.u', /the fraction occurs twice/],
      ['yyyy-MM-dd hh:mm', /hh needs a/],
      ['yyyy-MM-dd HH:mm a', /hh needs a/],
      ['yyyy-MM-dd HH hh:mm a', /exclude each other/],
      ['yyyyMdHHmm', /where M ends before d is not clear/],
      ['yyyy-MM-d5 HH:mm', /where d ends before 5 is not clear/],
      ['yyyy-MM-dd HH:mm:ss.u[0ZZ]', /where u ends before 0 is not clear/],
      ["yyyy-MM-dd HH:mm zzz'X'", /where zzz ends before 'X' is not clear/],
      ['yyyy-MM-dd HH:mm[ZZ]', /begins with a separator/],
      ['yyyy-MM-dd HH:mm[]', /begins with a separator/],
      ['yyyy-MM-dd[ HH]:mm', /HH may not be missing/],
      ['yyyy-MM-dd HH:mm[:ss][.u]', /a fraction may not be there without seconds/],
      ['yyyy-MM-dd HH:mm[:ss][:SSS]', /a fraction may not be there without seconds|begins alike/],
      ['yyyy-MM-dd HH:mm[ ZZ] ', /begins alike/],
      ['yyyy-MM-dd HH:mm[:ss', /"\[" without "\]"/],
      ['yyyy-MM-dd HH:mm:ss]', /"\]" without "\["/],
      ["yyyy-MM-dd'T HH:mm", /a quote that is not closed/],
    ];
    for (const [notation, message] of refused) {
      t.match(checkTimeNotation(notation) ?? 'allowed', message, JSON.stringify(notation));
      t.throws(() => compileTime(notation), RangeError);
    }
  },
);

await tap.test('a column of a date or of a time holds no more than that', async (t) => {
  t.match(checkTimeNotation('yyyy-MM-dd HH:mm', { parts: 'date' }), /more than a date/);
  t.match(checkTimeNotation('yyyy-MM-dd HH:mm', { parts: 'time' }), /more than a time/);
  t.match(checkTimeNotation('HH:mm zzz', { parts: 'time' }), /a zone needs date and time/);
  t.match(checkTimeNotation('HH:mm', { parts: 'date' }), /year, month and day are needed/);
  t.match(checkTimeNotation('iso', { parts: 'date' }), /more than a date/);
});

await tap.test('zone abbreviations are letters with an offset, and UTC stays what it is', async (t) => {
  t.equal(check({ PST: '-08:00', PDT: '-07:00', NPT: '+05:45', UTC: '+00:00' }), undefined);
  t.match(check({ pst: '-08:00' }), /letters from A to Z/);
  t.match(check({ EST5EDT: '-05:00' }), /letters from A to Z/);
  t.match(check({ TOOLONG: '-05:00' }), /1 to 6 letters/);
  t.match(check({ PST: '-8' }), /no offset like/);
  t.match(check({ PST: '-19:00' }), /no offset like/);
  t.match(check({ PST: '-08:60' }), /no offset like/);
  t.match(check({ GMT: '+01:00' }), /GMT is always/);
});
