const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const LINE_FEED = 0x0a;
const CARRIAGE_RETURN = 0x0d;
const SPACE = 0x20;

/**
 * A JSON document on one line. Outside of strings a newline is white space and becomes a space; inside of strings JSON
 * allows none, and one that stands there nevertheless becomes the `\n` or `\r` that was meant. Nothing else changes.
 */
export function jsonLine(document: Buffer): Buffer {
  if (!document.includes(LINE_FEED) && !document.includes(CARRIAGE_RETURN)) return document;
  // A newline inside of a string takes one byte more.
  const line = Buffer.alloc(document.length * 2);
  let length = 0;
  let inString = false;
  let escaped = false;
  for (const byte of document) {
    const newline = byte === LINE_FEED || byte === CARRIAGE_RETURN;
    if (newline && inString) {
      if (!escaped) line[length++] = BACKSLASH;
      line[length++] = byte === LINE_FEED ? 0x6e : 0x72;
    } else {
      line[length++] = newline ? SPACE : byte;
    }
    if (byte === QUOTE && !escaped) inString = !inString;
    escaped = inString && byte === BACKSLASH && !escaped;
  }
  return line.subarray(0, length);
}

/** Whether a body is one JSON document by its first byte that is no white space, rather than lines. */
export function beginsJson(body: Buffer): boolean {
  const first = body.find(
    (byte) => byte !== SPACE && byte !== LINE_FEED && byte !== CARRIAGE_RETURN && byte !== 0x09,
  );
  return first === 0x7b || first === 0x5b;
}
