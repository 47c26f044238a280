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
  const { ids, end } = idsOf(frame, message.at);
  const header = decodeValue(frame.subarray(message.at, end)) as Record<string, unknown>;
  const argsAt = outline.skip(end);
  const name = decodeValue(frame.subarray(end, argsAt));
  if (typeof name !== 'string') throw new FormError('The name is no text.');
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
    version: versionOf(header['v']),
    headers: new Map(Object.entries(header).filter(([key]) => !ownKeys.has(key))),
    name,
    cost: frame.length + args.cost(),
    readArgs() {
      if (problem !== undefined) throw problem as Error;
      return decodeValue(frame.subarray(argsAt));
    },
  };
}

const ownKeys = new Set(['message_id', 'response_to', 'v']);

/** The ids of a header, as they stand there, and where it ends. */
function idsOf(frame: Buffer, start: number): { ids: Map<string, RawId>; end: number } {
  const outline = outlineOf(frame, headBounds);
  const { count, at } = outline.enter(start, 'map');
  const ids = new Map<string, RawId>();
  let next = at;
  for (let left = count; left > 0; left -= 1) {
    const valueAt = outline.skip(next);
    const end = outline.skip(valueAt);
    const key = textAt(frame, next)?.toString('latin1');
    // null stands for none.
    if ((key === 'message_id' || key === 'response_to') && frame[valueAt] !== 0xc0) {
      const text = textAt(frame, valueAt);
      if (text === undefined || text.length === 0 || text.length > maxIdBytes) {
        throw new FormError('An id is a short text.');
      }
      ids.set(key, {
        // A copy: the frame is not kept for it.
        encoded: Buffer.from(frame.subarray(valueAt, end)),
        key: text.toString('latin1'),
      });
    }
    next = end;
  }
  return { ids, end: next };
}

/** Clients of version 1 name none. */
function versionOf(value: unknown): number {
  if (value === undefined || value === null) return 1;
  return typeof value === 'number' || typeof value === 'bigint' ? Number(value) : 3;
}

const listOfThree = Buffer.from([0x93]);
const headerBegin = Buffer.concat([Buffer.from([0x83]), encodeValue('message_id', 0)]);
const headerMiddle = Buffer.concat([
  ...[encodeValue('v', 0), encodeValue(3, 0), encodeValue('response_to', 0)],
]);

/** A message of ours on a channel. */
export function encodeEvent(
  { messageId, responseTo, name }: { messageId: string; responseTo: RawId; name: string },
  args: Buffer,
): Buffer {
  return Buffer.concat([
    ...[listOfThree, headerBegin, encodeValue(messageId, 0), headerMiddle, responseTo.encoded],
    ...[encodeValue(name, 0), args],
  ]);
}
