import { isUtf8 } from 'node:buffer';
import { FormError, outlineOf, textAt } from './outline.js';
import { decodeValue, encodeValue } from './values.js';

/** An id as it came: answers name it in the same bytes, so that a string stays one and bin stays bin. */
export interface RawId {
  encoded: Buffer;
  /** The same for every form of the same text. */
  key: string;
}

/** A message that came. */
export interface IncomingEvent {
  messageId: RawId;
  /** The channel that it belongs to; undefined: it opens one. */
  responseTo: RawId | undefined;
  version: number;
  headers: ReadonlyMap<string, unknown>;
  name: string;
  /** What it takes of the memory once it is read. */
  cost: number;
  /** Read when they are asked for. Throws a FormError. */
  readArgs(): unknown;
}

const maxIdBytes = 256;
/** What is small whatever the limits for the arguments are. */
const headBounds = { maxDepth: 8, maxValues: 1_000 };

/**
 * `[header, name, args]` of a frame. Throws a FormError where it is not known who would be answered: what is wrong
 * with the arguments alone is told by `readArgs`.
 */
export function decodeEvent(
  frame: Buffer,
  bounds: { maxDepth: number; maxValues: number },
): IncomingEvent {
  const outline = outlineOf(frame, headBounds);
  const message = outline.enter(0, 'list');
  if (message.count !== 3) throw new FormError('A message has three parts.');
  const { ids, version, headers, end } = headerOf(frame, message.at);
  const argsAt = outline.skip(end);
  const name = decodeText(textAt(frame, end));
  if (name === undefined) throw new FormError('The name is no text.');
  const messageId = ids.get('message_id');
  if (messageId === undefined) throw new FormError('The message has no id.');

  const args = outlineOf(frame, bounds);
  let problem: unknown;
  try {
    if (args.skip(argsAt) !== frame.length) problem = new FormError('More follows the message.');
  } catch (error) {
    problem = error;
  }
  return {
    messageId,
    responseTo: ids.get('response_to'),
    ...{ version, headers, name },
    cost: frame.length + args.cost(),
    readArgs() {
      if (problem !== undefined) throw problem as Error;
      return decodeValue(frame.subarray(argsAt));
    },
  };
}

interface Header {
  ids: ReadonlyMap<string, RawId>;
  version: number;
  headers: ReadonlyMap<string, unknown>;
  /** Where it ends. */
  end: number;
}

function headerOf(frame: Buffer, start: number): Header {
  const outline = outlineOf(frame, headBounds);
  const { count, at } = outline.enter(start, 'map');
  const ids = new Map<string, RawId>();
  const headers = new Map<string, unknown>();
  let version = 1;
  let next = at;
  for (let left = count; left > 0; left -= 1) {
    const valueAt = outline.skip(next);
    const end = outline.skip(valueAt);
    const key = decodeText(textAt(frame, next));
    const value = frame.subarray(valueAt, end);
    if (key === 'message_id' || key === 'response_to') {
      const id = idOf(value);
      if (id !== undefined) ids.set(key, id);
    } else if (key === 'v') version = versionOf(decodeValue(value));
    else if (key !== undefined) headers.set(key, decodeValue(value));
    next = end;
  }
  return { ids, version, headers, end: next };
}

/** undefined: null, which stands for none. */
function idOf(encoded: Buffer): RawId | undefined {
  if (encoded[0] === 0xc0) return undefined;
  const text = textAt(encoded, 0);
  if (text === undefined || text.length === 0 || text.length > maxIdBytes) {
    throw new FormError('An id is a short text.');
  }
  // A copy: the frame is not kept for it.
  return { encoded: Buffer.from(encoded), key: text.toString('latin1') };
}

/** Old clients send as bin what is text in today's. undefined: it is neither. */
function decodeText(bytes: Buffer | undefined): string | undefined {
  return bytes === undefined || !isUtf8(bytes) ? undefined : bytes.toString();
}

/** Clients of version 1 name none; what is no number is taken for ours. */
function versionOf(value: unknown): number {
  if (value === null) return 1;
  return typeof value === 'number' || typeof value === 'bigint' ? Number(value) : 3;
}

const headerBegin = Buffer.concat([Buffer.from([0x93, 0x83]), encodeValue('message_id', 0)]);
const headerMiddle = Buffer.concat([
  ...[encodeValue('v', 0), encodeValue(3, 0), encodeValue('response_to', 0)],
]);

/** A message of ours on a channel. */
export function encodeEvent(
  { messageId, responseTo, name }: { messageId: string; responseTo: RawId; name: string },
  args: Buffer,
): Buffer {
  return Buffer.concat([
    ...[headerBegin, encodeValue(messageId, 0), headerMiddle, responseTo.encoded],
    ...[encodeValue(name, 0), args],
  ]);
}
