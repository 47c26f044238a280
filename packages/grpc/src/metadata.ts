import type { IncomingHttpHeaders } from 'node:http2';

/** Names in lower case; those that end in -bin have base64 as their values. */
export type Metadata = Readonly<Record<string, string>>;

/** What a call's headers or trailers say beside what gRPC itself puts there. */
export function metadataOf(headers: IncomingHttpHeaders): Record<string, string> {
  const metadata: Record<string, string> = {};
  for (const name of Object.keys(headers)) {
    if (isOfProtocol(name)) continue;
    const value = headers[name];
    if (value !== undefined) metadata[name] = typeof value === 'string' ? value : value.join(', ');
  }
  return metadata;
}

function isOfProtocol(name: string): boolean {
  return name.startsWith(':') || ofProtocol.has(name);
}

const ofProtocol = new Set([
  ...['content-type', 'te', 'user-agent', 'connection', 'host', 'date', 'grpc-status'],
  ...['grpc-message', 'grpc-timeout', 'grpc-encoding', 'grpc-accept-encoding'],
  ...['content-length', 'http2-settings'],
]);

/** Text of a status as `grpc-message` takes it: what is no printable ASCII is percent-encoded. */
export function encodeStatusMessage(text: string): string {
  if (/^[\x20-\x24\x26-\x7e]*$/.test(text)) return text;
  let encoded = '';
  for (const byte of Buffer.from(text)) {
    const isPlain = byte >= 0x20 && byte <= 0x7e && byte !== 0x25;
    encoded += isPlain
      ? String.fromCharCode(byte)
      : `%${byte.toString(16).toUpperCase().padStart(2, '0')}`;
  }
  return encoded;
}

/** What is badly encoded stays as it is, as gRPC wants it. */
export function decodeStatusMessage(text: string): string {
  if (!text.includes('%')) return text;
  const bytes = Buffer.from(text)
    .toString('latin1')
    .replace(/%([0-9A-Fa-f]{2})/g, (_, digits: string) =>
      String.fromCharCode(parseInt(digits, 16)),
    );
  return Buffer.from(bytes, 'latin1').toString();
}
