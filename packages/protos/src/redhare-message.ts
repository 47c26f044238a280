import { AppError } from '@inference-server/errors';
import {
  BinaryWriter,
  bytesOf,
  decoding,
  encodeTextPair,
  lengthTag,
  readFields,
  readTextPair,
  WireType,
  writeTextPair,
  written,
  type FieldBudget,
} from './wire.js';

/** A client says three. */
const maxAttributes = 100;

export interface AuthResponse {
  /** host:port. */
  url: string;
  token: string;
}

/** What a message of a stream has; undefined where it has neither. */
export type StreamRequest = { token: string } | { data: Buffer } | undefined;

/** The attributes of an AuthRequest. Throws MALFORMED_REQUEST of bytes that are none. */
export function decodeAuthRequest(bytes: Buffer): Map<string, string> {
  return decoding('The request', () => {
    const attributes = new Map<string, string>();
    const budget: FieldBudget = { fields: 0 };
    readFields(
      bytes,
      (field, wireType, reader) => {
        if (field !== 1 || wireType !== WireType.LengthDelimited) return false;
        attributes.set(...readTextPair(bytesOf(reader), budget));
        if (attributes.size > maxAttributes) {
          throw new AppError(
            'MALFORMED_REQUEST',
            `The request has more than ${maxAttributes} attributes.`,
          );
        }
        return true;
      },
      budget,
    );
    return attributes;
  });
}

export function encodeAuthRequest(attributes: ReadonlyMap<string, string>): Buffer {
  const writer = new BinaryWriter();
  for (const [key, value] of attributes) writeTextPair(writer, 1, key, value);
  return written(writer);
}

export function decodeAuthResponse(bytes: Buffer): AuthResponse {
  const [url, token] = decoding('The response', () => readTextPair(bytes, { fields: 0 }));
  return { url, token };
}

export function encodeAuthResponse({ url, token }: AuthResponse): Buffer {
  return encodeTextPair(url, token);
}

/**
 * A Request, whose data is a slice of it. Of several fields of a oneof the last one counts. Throws
 * MALFORMED_REQUEST of bytes that are none.
 */
export function decodeStreamRequest(bytes: Buffer): StreamRequest {
  return decoding('The request', () => {
    let request: StreamRequest;
    readFields(bytes, (field, wireType, reader) => {
      if (wireType !== WireType.LengthDelimited || field > 2) return false;
      request = field === 1 ? { data: bytesOf(reader) } : { token: reader.string(true) };
      return true;
    });
    return request;
  });
}

/** In pieces to be sent one after the other. What is empty is written too: a oneof says which it is. */
export function encodeStreamRequest(request: { token: string } | { data: Buffer }): Buffer[] {
  if ('data' in request) return [lengthTag(1, request.data.byteLength), request.data];
  return [written(new BinaryWriter().tag(2, WireType.LengthDelimited).string(request.token))];
}

/** The data of a Response, as a slice of it. */
export function decodeStreamResponse(bytes: Buffer): Buffer {
  return decoding('The response', () => {
    let data: Buffer = Buffer.alloc(0);
    readFields(bytes, (field, wireType, reader) => {
      if (field !== 1 || wireType !== WireType.LengthDelimited) return false;
      data = bytesOf(reader);
      return true;
    });
    return data;
  });
}

/** In pieces to be sent one after the other. */
export function encodeStreamResponse(data: Buffer): Buffer[] {
  return data.byteLength === 0 ? [] : [lengthTag(1, data.byteLength), data];
}
