import { randomUUID } from 'node:crypto';
import type { Channel } from './channel.js';
import { encodeEvent } from './event.js';
import type { ZeroRpcLimits } from './limits.js';
import type { Outbox, OutgoingMessage } from './outbox.js';
import { encodeValue } from './values.js';
import { errorArgs, isBusy, ZeroRpcError } from './zerorpc-error.js';

/** Whom an answer goes to. Calls that are refused have no channel. */
export type Addressee = Pick<Channel, 'connection' | 'route' | 'id' | 'version'>;

/** Our side of channels. */
export interface Answers {
  /** One message of an answer, when the client has taken what was sent before. */
  answer(channel: Channel, name: 'OK' | 'STREAM' | 'STREAM_DONE', args: unknown): Promise<void>;
  /** Whatever waits: it is short. */
  refuse(to: Addressee, error: ZeroRpcError): void;
  beat(channel: Channel): void;
}

const empty = Buffer.alloc(0);
/** Of the texts of an error. */
const maxTextLength = 4_000;

export function createAnswers(
  outbox: Outbox,
  { maxFrameBytes, maxDepth }: Pick<ZeroRpcLimits, 'maxFrameBytes' | 'maxDepth'>,
): Answers {
  const own = randomUUID().replaceAll('-', '');
  let count = 0;

  function messageOf(to: Addressee, name: string, args: unknown): OutgoingMessage {
    count += 1;
    const opened = { messageId: `${own}${count}`, responseTo: to.id, name };
    const frame = encodeEvent(opened, encodeValue(args, maxDepth));
    if (frame.length > maxFrameBytes) {
      throw new ZeroRpcError('AnswerTooLarge', `The answer is larger than ${maxFrameBytes} bytes.`);
    }
    return { frames: [...to.route, empty, frame], bytes: frame.length };
  }

  return {
    async answer(channel, name, args) {
      const make = () => messageOf(channel, name, args);
      if (await outbox.putInTurn(channel.connection, make, channel.signal)) return;
      channel.signal.throwIfAborted();
      throw isBusy();
    },
    refuse(to, error) {
      const args = errorArgs(error, to.version).map((text) => String(text).slice(0, maxTextLength));
      outbox.put(to.connection, messageOf(to, 'ERR', args));
    },
    beat(channel) {
      if (channel.isBeatWaiting) return;
      channel.isBeatWaiting = true;
      outbox.put(channel.connection, {
        // A client of version 2 reads it as a grant of slots: of none.
        ...messageOf(channel, '_zpc_hb', [0]),
        onLeft: () => (channel.isBeatWaiting = false),
      });
    },
  };
}
