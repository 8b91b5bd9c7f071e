import type { Random } from '../../ingest/generate/random.ts';
import { readFeed, type Feed } from '../../schemas/feed.ts';
import { DURATION_UNITS } from '../../schemas/formats/duration-unit.ts';
import { ENCODINGS } from '../../schemas/formats/encoding.ts';
import { QUOTES } from '../../schemas/formats/format.ts';
import { FORMATS } from '../../schemas/formats/index.ts';
import { TIME_NAMES } from '../../schemas/formats/time-pattern.ts';
import { checkSettings } from '../../schemas/settings.ts';

/** A feed under test: its settings as in cdrhouse.yaml, and what they become. */
export interface FuzzFeed {
  readonly settings: Readonly<Record<string, unknown>>;
  readonly feed: Feed;
}

const ZONES = ['UTC', 'UTC', 'Europe/Paris', 'America/New_York', 'Asia/Kathmandu', 'Australia/Lord_Howe'];
const COUNTRIES = ['FR', 'DE', 'GB', 'US', 'IT', 'RU', 'AR', 'JP'];
export const ABBREVIATIONS = { PST: '-08:00', IST: '+05:30' };
const SEPARATORS = [',', ';', '|', '\t', ':', '~', '^', ' ', '#', '.', '-', '*', "'", '"', '\\'];
const DATE_TIMES = [
  ...TIME_NAMES,
  'yyyy-MM-dd HH:mm:ss',
  'dd.MM.yyyy HH:mm:ss',
  'yyyy/M/d H:mm[:ss]',
  'yyyyMMddHHmmss.SSS',
  "d MMM yyyy 'at' h:mm:ss a",
  'yyyy-MM-dd HH:mm:ss[.u] ZZ',
  'yyyy-MM-dd HH:mm:ss ZZZ',
  'HH:mm:ss.SSS zzz MMM dd yyyy',
  'EEE MMM d HH:mm:ss yyyy',
];
const ATTEMPTS_MAX = 50;

export function oneOf<T>(random: Random, list: readonly T[]): T {
  return list[random.integer(list.length)]!;
}

/** A feed of each format with random settings, and `delimited` ones of random syntax. */
export function randomFeeds(random: Random, delimited: number): FuzzFeed[] {
  const formats = [
    ...FORMATS.map(({ name }) => name),
    ...Array.from({ length: delimited }, () => 'delimited'),
  ];
  return formats.map((format, i) => {
    for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt++) {
      const settings = randomSettings(random, format, i);
      try {
        return { settings, feed: readFeed(checkSettings({ feeds: [settings] }).feeds[0]!) };
      } catch {
        // Not every combination is allowed; the next one may be.
      }
    }
    throw new Error(`no allowed settings of ${format} in ${ATTEMPTS_MAX} attempts`);
  });
}

function randomSettings(random: Random, format: string, i: number): Record<string, unknown> {
  const settings: Record<string, unknown> = {
    name: `feed-${i}`,
    format,
    time_zone: oneOf(random, ZONES),
    zone_abbreviations: ABBREVIATIONS,
  };
  if (random.chance(0.3)) settings['country'] = oneOf(random, COUNTRIES);
  if (random.chance(0.3)) settings['identity'] = oneOf(random, ['record', 'fields', 'position']);
  if (random.chance(0.3)) settings['encoding'] = oneOf(random, ['windows-1252', 'iso-8859-1', ...ENCODINGS]);
  if (random.chance(0.1)) settings['numbers'] = { strip: ['9', '*31*'], bare: 'international' };
  if (format === 'delimited') settings['delimited'] = randomSyntax(random);
  const names = listedColumns(format);
  if (names !== undefined && random.chance(0.5)) settings['columns'] = shuffled(random, names);
  return settings;
}

function listedColumns(format: string): readonly string[] | undefined {
  const { syntax } = FORMATS.find(({ name }) => name === format)!;
  return syntax.kind === 'delimited' && syntax.columns.by === 'list' ? syntax.columns.names : undefined;
}

function randomSyntax(random: Random): object {
  const header = random.chance(0.4);
  const apart = random.chance(0.2);
  const fields = ['calling_number', 'dialed_number', 'start', 'duration'];
  for (const more of ['displayed_caller_id', 'talk_duration', 'outcome', 'direction', 'account', 'call_id'])
    if (random.chance(0.5)) fields.push(more);
  if (apart) fields.push('time_of_day');
  const places = shuffled(
    random,
    Array.from({ length: fields.length + random.integer(4) }, (_, column) => column + 1),
  );
  // Now and then in columns that few lines have.
  const far = random.chance(0.05) ? 1020 - places.length : 0;
  const columns = Object.fromEntries(
    fields.map((field, i) => [field, header ? `col_${places[i]}` : places[i]! + far]),
  );
  const count = Math.max(...places) + far;
  return {
    separator: oneOf(random, SEPARATORS),
    quotes: oneOf(random, QUOTES),
    header,
    columns,
    ...(random.chance(0.3) ? { comment: oneOf(random, ['#', '//', ':', '"']) } : {}),
    ...(!header && random.chance(0.3) ? { column_counts: [count, count + 2] } : {}),
    start: apart ? oneOf(random, ['yyyy-MM-dd', 'dd/MM/yy', 'M/d/yyyy']) : oneOf(random, DATE_TIMES),
    ...(apart && random.chance(0.5)
      ? { time_of_day: oneOf(random, ['HH:mm', 'H:mm:ss', 'hh:mm:ss a']) }
      : {}),
    duration_unit: oneOf(random, DURATION_UNITS),
    number_reading: oneOf(random, ['plain', 'plain', 'name-addr', 'uri']),
    outcomes: { OK: 'answered', 'kein ende': 'failed' },
    directions: { ab: 'outbound' },
  };
}

export function shuffled<T>(random: Random, list: readonly T[]): T[] {
  const result = [...list];
  for (let i = result.length - 1; i > 0; i--) {
    const j = random.integer(i + 1);
    [result[i], result[j]] = [result[j]!, result[i]!];
  }
  return result;
}
