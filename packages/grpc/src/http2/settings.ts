import { beginFrame, frameTypes, headBytes, usualFrameBytes } from './frames.js';
import { Http2Error } from './http2-error.js';

/** RFC 9113, section 6.5.2. */
const ids = {
  HEADER_TABLE_SIZE: 1,
  ENABLE_PUSH: 2,
  MAX_CONCURRENT_STREAMS: 3,
  INITIAL_WINDOW_SIZE: 4,
  MAX_FRAME_SIZE: 5,
} as const;

/** What a peer may send of one answer ahead of what is read. */
export const streamWindowBytes = 1024 ** 2;
export const maxWindowBytes = 2 ** 31 - 1;
/** Before the peer has said how many it takes, which is the first that it says. */
const expectedStreams = 100;

/** What a peer said of itself. */
export interface PeerSettings {
  /** Requests at a time that go out: one, until the peer has said how many it takes. */
  maxStreams(): number;
  /** Requests that are thought to go out soon. */
  expectedStreams(): number;
  /** Whether the next block of headers has to say how much is kept of it; true once after each change. */
  takesTableSize(): boolean;
  /** What may go out of each request ahead of what the peer reads. */
  streamWindow(): number;
  maxFrameBytes(): number;
  /** Takes the payload of SETTINGS; returns by how much windows of requests under way grow. Throws Http2Error. */
  apply(payload: Buffer): number;
}

export function createPeerSettings(): PeerSettings {
  let maxStreams: number | undefined;
  let streamWindow = 65_535;
  let maxFrameBytes = usualFrameBytes;
  let hasTableSize = false;
  return {
    maxStreams: () => maxStreams ?? 1,
    expectedStreams: () => maxStreams ?? expectedStreams,
    takesTableSize() {
      const takes = hasTableSize;
      hasTableSize = false;
      return takes;
    },
    streamWindow: () => streamWindow,
    maxFrameBytes: () => maxFrameBytes,
    apply(payload) {
      const before = streamWindow;
      // Who says nothing of it takes any number.
      maxStreams ??= Infinity;
      for (let at = 0; at < payload.length; at += 6) {
        const value = payload.readUInt32BE(at + 2);
        const id = payload.readUInt16BE(at);
        if (id === ids.HEADER_TABLE_SIZE) hasTableSize = true;
        else if (id === ids.MAX_CONCURRENT_STREAMS) maxStreams = value;
        else if (id === ids.INITIAL_WINDOW_SIZE) {
          if (value > maxWindowBytes) {
            throw new Http2Error('FLOW_CONTROL_ERROR', 'the peer grants more than there may be');
          }
          streamWindow = value;
        } else if (id === ids.MAX_FRAME_SIZE) {
          if (value < usualFrameBytes || value >= 2 ** 24) {
            throw new Http2Error('PROTOCOL_ERROR', 'the peer takes frames of no size there is');
          }
          maxFrameBytes = value;
        }
      }
      return streamWindow - before;
    },
  };
}

/** The SETTINGS of ours. */
export function ownSettings(): Buffer {
  const said: [id: number, value: number][] = [
    [ids.ENABLE_PUSH, 0],
    [ids.INITIAL_WINDOW_SIZE, streamWindowBytes],
  ];
  const frame = beginFrame(frameTypes.SETTINGS, 0, 0, 6 * said.length, 6 * said.length);
  said.forEach(([id, value], n) => {
    frame.writeUInt16BE(id, headBytes + 6 * n);
    frame.writeUInt32BE(value, headBytes + 6 * n + 2);
  });
  return frame;
}
