import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import { Readable } from 'node:stream';
import { text } from 'node:stream/consumers';
import { Agent, request } from 'undici';
import type { Scene } from '../scene.js';

/** How a zip is posted: as the body, or as the part `zip_file` of a form. */
export type Way = 'bare zip' | 'form';

/** A client that costs little beside what is measured. Each call throws unless it succeeds. */
export interface TransferClient {
  upload(
    url: string,
    path: string,
    way: Way,
    /** When the file has been read to its end. */
    onSent?: () => void,
  ): Promise<{ seconds: number; answer: string }>;
  /** Asks until there is an output, and reads it; `beganAt` is when its headers came. */
  download(
    url: string,
    onBegin: () => void,
  ): Promise<{ beganAt: number; seconds: number; bytes: number }>;
  remove(url: string): Promise<void>;
}

export function openTransferClient(scene: Scene): TransferClient {
  const dispatcher = new Agent({ headersTimeout: 0, bodyTimeout: 0 });
  scene.onEnd(() => dispatcher.destroy());
  const options = { dispatcher, signal: scene.signal };
  return {
    async upload(url, path, way, onSent = () => undefined) {
      const { size } = await stat(path);
      const file = createReadStream(path, { highWaterMark: chunkBytes });
      file.once('end', onSent);
      const began = performance.now();
      const { statusCode, body } = await request(url, {
        ...options,
        method: 'POST',
        ...(way === 'form'
          ? formAround(file, size)
          : {
              body: file,
              headers: { 'content-type': 'application/zip', 'content-length': `${size}` },
            }),
      });
      const answer = await text(body);
      const seconds = (performance.now() - began) / 1000;
      if (statusCode !== 200) throw new Error(`The upload is answered ${statusCode}: ${answer}`);
      return { seconds, answer };
    },

    async download(url, onBegin) {
      for (;;) {
        const { statusCode, body } = await request(url, options);
        if (statusCode === 551) {
          await body.dump();
          continue;
        }
        if (statusCode !== 200) {
          throw new Error(`The task is answered ${statusCode}: ${await text(body)}`);
        }
        onBegin();
        const beganAt = performance.now();
        let bytes = 0;
        for await (const chunk of body) bytes += (chunk as Buffer).length;
        return { beganAt, seconds: (performance.now() - beganAt) / 1000, bytes };
      }
    },

    async remove(url) {
      const { statusCode, body } = await request(url, { ...options, method: 'DELETE' });
      await body.dump();
      if (statusCode !== 200) throw new Error(`The removal is answered ${statusCode}`);
    },
  };
}

const chunkBytes = 256 * 1024;

function formAround(file: Readable, fileBytes: number) {
  const boundary = 'benchmark-boundary';
  const head = Buffer.from(
    `--${boundary}\r\n` +
      'Content-Disposition: form-data; name="zip_file"; filename="input.zip"\r\n' +
      'Content-Type: application/zip\r\n\r\n',
  );
  const tail = Buffer.from(`\r\n--${boundary}--\r\n`);
  async function* parts() {
    yield head;
    yield* file as AsyncIterable<Buffer>;
    yield tail;
  }
  return {
    body: Readable.from(parts(), { objectMode: false }),
    headers: {
      'content-type': `multipart/form-data; boundary=${boundary}`,
      'content-length': `${head.length + fileBytes + tail.length}`,
    },
  };
}
