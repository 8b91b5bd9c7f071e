import { parseString } from 'fast-csv';

/** The rows of a CSV text by the names of its header, as a program reads them. */
export async function readCsv(csv: string): Promise<Record<string, string>[]> {
  const rows: Record<string, string>[] = [];
  for await (const row of parseString(csv, { headers: true })) rows.push(row as Record<string, string>);
  return rows;
}
