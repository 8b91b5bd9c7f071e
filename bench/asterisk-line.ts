const DISPOSITIONS: Readonly<Record<string, string>> = {
  answered: 'ANSWERED',
  no_answer: 'NO ANSWER',
  busy: 'BUSY',
  cancelled: 'NO ANSWER',
};

/**
 * The same call as Asterisk's cdr_csv writes it when it came over a trunk: 21 columns, whole seconds, some 260 bytes.
 * @param line of canonical-csv, as `Traffic` makes it
 */
export function asteriskLine(line: string): string {
  const [calling, displayed, dialed, start, duration, talk, callId, outcome, account] = line.split(',') as [
    string,
    string,
    string,
    string,
    ...string[],
  ];
  const startMs = Date.parse(start);
  const seconds = Math.floor(Number(duration));
  const billed = Math.floor(Number(talk));
  const sequence = Number(callId!.slice(callId!.indexOf('-') + 1));
  const channel = sequence.toString(16).padStart(8, '0');
  const uniqueId = `${Math.floor(startMs / 1000)}.${sequence}`;
  const answer = outcome === 'answered' ? `"${at(startMs + (seconds - billed) * 1000)}"` : '';
  return (
    `"${account}","${calling}","${dialed}","from-trunk","""${displayed}"" <${displayed}>","SIP/trunk-${channel}",` +
    `"SIP/desk-${channel}","Dial","SIP/desk,60","${at(startMs)}",${answer},"${at(startMs + seconds * 1000)}",` +
    `${seconds},${billed},"${DISPOSITIONS[outcome!] ?? 'FAILED'}","DOCUMENTATION","${uniqueId}","","","${uniqueId}",${sequence}`
  );
}

/** UTC as Asterisk writes local times. */
function at(ms: number): string {
  return new Date(ms).toISOString().slice(0, 19).replace('T', ' ');
}
