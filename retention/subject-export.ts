import type { BaseQueryParams } from '@clickhouse/client';
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { mkdir, open, readdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { Json } from '../schemas/certificate.ts';
import { encodeCsv } from '../schemas/csv.ts';
import { CdrhouseError } from '../schemas/errors.ts';
import { unsearchableSql } from '../schemas/number-hmac.ts';
import type { Settings } from '../schemas/settings.ts';
import { FINAL_SETTINGS } from '../schemas/tables.ts';
import { exportAbout } from './subject-export-about.ts';
import { select } from './clickhouse.ts';
import { exportSources, type ExportRow, type ExportSource } from './subject-export-sources.ts';
import { countCalls, subjectOf } from './subject-calls.ts';
import {
  beginRequest,
  checkReason,
  dryRun,
  finishRequest,
  withSubjects,
  type PersonAsked,
  type SubjectContext,
  type SubjectReport,
} from './subject-requests.ts';

/**
 * Access and portability (Articles 15 and 20 of the GDPR): all that is held on a person, as JSON and CSV in a folder, with
 * a description of every column. The certificate has the SHA-256 of each file; it is written last, so that a folder
 * without one is not complete, and is written again by the same command.
 */
export interface ExportAsked extends PersonAsked {
  /** Folder to write; it may not hold anything but an export that was broken off. */
  readonly out: string;
  /** Numbers of callers, and rejected records with whatever they hold, are told too. */
  readonly unmasked: boolean;
}

const CERTIFICATE = 'certificate.json';
/** In a folder that is not complete. */
const BEGUN = 'export-begun';

/** Throws USAGE_WRONG, FEED_UNKNOWN and FILE_UNWRITABLE. */
export function exportSubject(settings: Settings, asked: ExportAsked): Promise<SubjectReport> {
  checkReason(asked.reason);
  const { out, unmasked } = asked;
  return withSubjects(settings, async (context) => {
    const subject = await subjectOf(context, asked.person);
    if (asked.dryRun) return dryRun('export', { calls: await countCalls(context, subject), unmasked });
    await prepareFolder(out);
    const request = await beginRequest(context, { ...asked, kind: 'export', subject, details: { unmasked } });
    const files: Record<string, Json> = {};
    const sources = await exportSources(context, subject, unmasked);
    for (const source of sources) Object.assign(files, await writeSource(context, source, out));
    const about = `${JSON.stringify(exportAbout(request, subject, unmasked, sources, await unsearchable(context)), null, 2)}\n`;
    await writing(out, () => writeFile(join(out, 'about.json'), about, { mode: FILE_MODE }));
    files['about.json'] = { sha256: createHash('sha256').update(about).digest('hex') };
    const report = await finishRequest(context, request, 'done', { unmasked, files });
    const certificate = `${JSON.stringify(report.certificate, null, 2)}\n`;
    await writing(out, () => writeFile(join(out, CERTIFICATE), certificate, { mode: FILE_MODE }));
    await writing(out, () => rm(join(out, BEGUN)));
    return report;
  });
}

/** Look-ups that no number finds: they may be of this person. */
async function unsearchable({ client, database, stored }: SubjectContext): Promise<number> {
  const { text, parameters } = unsearchableSql(database, stored.journalKeys, ["phase = 'started'"]);
  const [row] = await select<{ lookups: number }>(client, text, parameters);
  return row?.lookups ?? 0;
}

const FILE_MODE = 0o600;
const FOLDER_MODE = 0o700;

/** A folder of its own: nothing of somebody else's may be mixed with it, nor be written over. */
async function prepareFolder(out: string): Promise<void> {
  const names = await writing(out, async () => {
    await mkdir(out, { recursive: true, mode: FOLDER_MODE });
    return readdir(out);
  });
  if (names.length > 0 && (names.includes(CERTIFICATE) || !names.includes(BEGUN)))
    throw new CdrhouseError('USAGE_WRONG', `--out: ${out} is not empty`);
  await writing(out, () => writeFile(join(out, BEGUN), '', { mode: FILE_MODE }));
}

async function writing<T>(path: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    throw new CdrhouseError('FILE_UNWRITABLE', `${path} cannot be written (${code})`, cause);
  }
}

/** Both files of a source: CSV is made from the JSON, so that they hold the same. The rows are never all in memory. */
async function writeSource(
  context: SubjectContext,
  { name, columns, statement, toRow }: ExportSource,
  out: string,
): Promise<Record<string, Json>> {
  const json = join(out, `${name}.json`);
  let rows = 0;
  async function* found(): AsyncGenerator<ExportRow[]> {
    for await (const batch of readRows(context, statement)) {
      const kept = batch.map(toRow).filter((row) => row !== undefined);
      rows += kept.length;
      yield kept;
    }
  }
  const sha256 = await writeHashed(json, encodeJson(found()));
  return {
    [`${name}.json`]: { rows, sha256 },
    [`${name}.csv`]: {
      sha256: await writeHashed(join(out, `${name}.csv`), encodeCsv(rowsOfFile(json), columns)),
    },
  };
}

/** Writes a file and gives its SHA-256. */
async function writeHashed(path: string, pieces: AsyncIterable<Buffer>): Promise<string> {
  const hash = createHash('sha256');
  const file = await writing(path, () => open(path, 'w', FILE_MODE));
  try {
    for await (const piece of pieces) {
      hash.update(piece);
      await writing(path, () => file.writeFile(piece));
    }
  } finally {
    await writing(path, () => file.close());
  }
  return hash.digest('hex');
}

/** Rows of a file that `encodeJson` made. */
async function* rowsOfFile(path: string): AsyncGenerator<ExportRow[]> {
  for await (const line of createInterface({ input: createReadStream(path) }))
    if (line.startsWith('{')) yield [JSON.parse(line.replace(/,$/, '')) as ExportRow];
}

async function* readRows(
  { client }: SubjectContext,
  { query, parameters }: ExportSource['statement'],
): AsyncGenerator<object[]> {
  const asked: BaseQueryParams = {
    query_params: { ...parameters },
    clickhouse_settings: { ...FINAL_SETTINGS, output_format_json_quote_64bit_integers: 1 },
  };
  const result = await client.query({ ...asked, query, format: 'JSONEachRow' });
  for await (const rows of result.stream<object>()) yield rows.map((row) => row.json());
}

/** A JSON array with one row a line. */
async function* encodeJson(batches: AsyncIterable<readonly ExportRow[]>): AsyncGenerator<Buffer> {
  let lead = '[\n';
  for await (const rows of batches) {
    if (rows.length === 0) continue;
    yield Buffer.from(lead + rows.map((row) => JSON.stringify(row)).join(',\n'));
    lead = ',\n';
  }
  yield Buffer.from(lead === '[\n' ? '[]\n' : '\n]\n');
}
