/**
 * The encodings of texts that a feed can name: those in which a byte below 0x80 that is a separator, a quote or a line end
 * never is a part of another character. `utf-8`: a field that is none is read as Latin-1.
 */
export const ENCODINGS = [
  'utf-8',
  'iso-8859-1',
  'iso-8859-2',
  'iso-8859-5',
  'iso-8859-7',
  'iso-8859-15',
  'windows-1250',
  'windows-1251',
  'windows-1252',
  'koi8-r',
  'shift_jis',
  'euc-jp',
  'euc-kr',
  'gbk',
  'big5',
] as const;
export type Encoding = (typeof ENCODINGS)[number];

/** The encoding that a switch calls so (`ISO-8859-1`, `UTF8`, `US-ASCII`), or undefined. */
export function findEncoding(name: string): Encoding | undefined {
  const lower = name.toLowerCase();
  if (lower === 'utf8' || lower === 'us-ascii' || lower === 'ascii') return 'utf-8';
  return ENCODINGS.find((encoding) => encoding === lower);
}
