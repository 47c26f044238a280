import { lengthOf } from '../framing.js';
import { contentOfFrame, flags, frameTypes, type Frame } from './frames.js';
import { createHeaderDecoder, type HeaderBlock } from './hpack.js';
import { Http2Error } from './http2-error.js';

/** Headers of a response, in however many frames. */
const maxHeaderBytes = 64 * 1024;
const maxFrames = 100;

export interface HeaderBlocks {
  /** Takes HEADERS or CONTINUATION; gives the headers with the last frame of a block. Throws Http2Error. */
  take(frame: Frame): (HeaderBlock & { streamId: number; isEnd: boolean }) | undefined;
  /** Whether a block has begun and not ended: nothing else may come then. */
  isWithin(): boolean;
}

/** Puts the header blocks of one connection together. All are read, as the next ones build on them. */
export function createHeaderBlocks(): HeaderBlocks {
  const decoder = createHeaderDecoder(maxHeaderBytes);
  let streamId = 0;
  let isEnd = false;
  let parts: Buffer[] | undefined;

  return {
    isWithin: () => parts !== undefined,
    take(frame) {
      if (frame.type === frameTypes.HEADERS) {
        [streamId, parts] = [frame.streamId, []];
        isEnd = (frame.flags & flags.END_STREAM) !== 0;
      } else if (parts === undefined || frame.streamId !== streamId) {
        throw new Http2Error('PROTOCOL_ERROR', 'headers of the peer go on that have not begun');
      }
      const isFirst = parts.length === 0;
      const part = isFirst ? contentOfFrame(frame) : frame.payload;
      parts.push(part);
      if (lengthOf(parts) > maxHeaderBytes || parts.length > maxFrames) {
        throw new Http2Error('ENHANCE_YOUR_CALM', 'the peer sends too many headers');
      }
      if ((frame.flags & flags.END_HEADERS) === 0) return undefined;
      const block = isFirst ? part : Buffer.concat(parts);
      parts = undefined;
      return { streamId, isEnd, ...decoder.decode(block) };
    },
  };
}
