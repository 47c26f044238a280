import { createHash } from 'node:crypto';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  createStagingSpace,
  discardFile,
  receiveFile,
  type StagingSpace,
} from '@inference-server/blob-store';
import { errorCodes } from '@inference-server/contracts';
import { AppError } from '@inference-server/errors';
import { waitUntil } from '@inference-server/local-services';
import {
  abortedByClient,
  closeHttpServer,
  createHttpServer,
  createLogger,
} from '@inference-server/service-kit';
import { acceptZipUploads, zipUploadOf } from '../../apps/private-api/src/http/zip-upload.js';
import { openLane, type Lane, type LaneAnswer } from './http-lane.js';
import { formCase, type FormCase } from './multipart-form.js';
import { couldBeZip, plainPart, readForm } from './multipart-reader.js';
import { runCases, type FuzzRun } from './run-cases.js';
import { watchStrayErrors } from './stray-errors.js';

const maxBytes = 20_000;
const maxAroundBytes = 250_000;
const atOnce = 24;
const caseTimeMs = 10_000;
const maxGrowthBytes = 768 * 1024 ** 2;

/**
 * Sends made and damaged forms to the code that reads uploads, over real connections, and holds what
 * comes back against a second reader: taken is only what is one zip_file beyond doubt, byte for byte,
 * all else is refused with a problem body, in time, and nothing is left of it. Throws with the seed,
 * the case and what was wrong otherwise.
 */
export async function fuzzMultipart({
  cases,
  seed,
  onCase,
}: FuzzRun): Promise<{ accepted: number }> {
  const strays = watchStrayErrors();
  const before = process.memoryUsage.rss();
  const roomy = await startServer({ minFreeBytes: 0 });
  const full = await startServer({ minFreeBytes: Number.MAX_SAFE_INTEGER });
  const lanes = Array.from({ length: atOnce }, () => ({
    roomy: openLane(roomy.port),
    full: openLane(full.port),
  }));
  let number = 0;
  try {
    const counts = await runCases(
      formCase,
      { cases, seed, onCase, atOnce },
      async (made, at) => {
        number += 1;
        const lane = lanes[at]![made.isFull ? 'full' : 'roomy'];
        const accepted = await send(made, lane, String(number));
        strays.throwAny();
        const growth = number % 500 === 0 ? process.memoryUsage.rss() - before : 0;
        if (growth > maxGrowthBytes) throw new Error(`memory has grown by ${growth} bytes`);
        return accepted;
      },
      show,
    );
    for (const lane of lanes) await Promise.all([lane.roomy.close(), lane.full.close()]);
    for (const server of [roomy, full]) await server.expectNothingLeft();
    strays.throwAny();
    return counts;
  } finally {
    for (const lane of lanes) [lane.roomy, lane.full].forEach((one) => one.drop());
    await Promise.all([roomy.close(), full.close()]);
    strays.stop();
  }
}

/** A server that tells the digest of what is uploaded, and of which request it speaks. */
async function startServer({ minFreeBytes }: { minFreeBytes: number }) {
  const folder = await mkdtemp(join(tmpdir(), 'fuzz-multipart-'));
  const space = createStagingSpace({ folder, minFreeBytes });
  let reserved = 0;
  const counted: StagingSpace = {
    async reserve(declaredBytes) {
      const reservation = await space.reserve(declaredBytes);
      let isOpen = true;
      reserved += 1;
      const release = () => {
        if (isOpen) reserved -= 1;
        isOpen = false;
        reservation.release();
      };
      return { ...reservation, release };
    },
  };

  const app = createHttpServer({ logger: createLogger('fuzz', 'silent') });
  await acceptZipUploads(app, { maxBytes, space: counted, outputMinFreeBytes: 0 });
  app.addHook('onSend', async ({ headers }, reply) => {
    reply.header('x-case', headers['x-case'] ?? 'none');
  });
  app.post('/zip', async (request, reply) => {
    const signal = abortedByClient(reply);
    const received = await zipUploadOf(request).read(
      ({ stream, space: room }) => receiveFile(stream, { folder, maxBytes, signal, space: room }),
      discardFile,
    );
    if (received === undefined) throw new AppError('INVALID_FORM', 'The part is missing.');
    await discardFile(received);
    return { sha256: received.sha256 };
  });
  await app.listen({ host: '127.0.0.1', port: 0 });

  return {
    port: (app.server.address() as AddressInfo).port,

    /** Once every client is gone: no room set apart, no file, no connection. */
    async expectNothingLeft(): Promise<void> {
      let left = '';
      const nothing = async () => {
        const files = await readdir(folder);
        const connections = await new Promise((resolve) =>
          app.server.getConnections((_error, count) => resolve(count)),
        );
        left = `${reserved} reservations, ${files.length} files, ${String(connections)} connections`;
        return reserved === 0 && files.length === 0 && connections === 0;
      };
      if (await waitUntil(nothing, { timeoutMs: 10_000 })) return;
      throw new Error(`left at the end: ${left}`);
    },

    async close(): Promise<void> {
      await closeHttpServer(app, 1_000);
      await rm(folder, { recursive: true, force: true });
    },
  };
}

/** Whether the form was taken; throws when it was not answered as it should be. */
async function send(made: FormCase, lane: Lane, number: string): Promise<boolean> {
  const outcome = await lane.exchange(requestOf(made, number), { withinMs: caseTimeMs });
  const isWhole = made.then === 'wait' && made.framing !== 'long';
  if (outcome === 'held') throw new Error('no answer in time');
  if (outcome === 'closed') {
    // Refused without a 100, while the client had not waited for it: the answer may be lost.
    const mayBreak = made.framing === 'short' || made.expectsContinue;
    if (isWhole && !mayBreak) throw new Error('the connection broke');
    return false;
  }
  checkAnswer(outcome, { number, isFull: made.isFull });
  const accepted = outcome.status === 200;
  if (accepted && !isWhole && made.then !== 'end') throw new Error('taken before its end');
  const fault = accepted ? faultOfTaking(made, digestIn(outcome)) : faultOfRefusing(made);
  if (fault !== undefined) {
    throw new Error(`${fault}: ${outcome.status} ${outcome.body.toString('utf8')}`);
  }
  return accepted;
}

function requestOf(made: FormCase, number: string) {
  const { body, framing, pieceBytes, inTurns, contentType, expectsContinue } = made;
  // Of a body that is cut, or said to be longer than it is, only a part is sent; then the client goes.
  const isCut = made.then !== 'wait' && made.then !== 'end';
  const share = framing === 'long' || isCut ? Math.min(made.cutAt, 1) : 1;
  const sent = body.subarray(0, Math.floor(body.length * share));
  const declared = {
    length: body.length,
    short: Math.floor(body.length / 2),
    long: body.length + 9,
  };
  const head = [
    'POST /zip HTTP/1.1',
    'Host: localhost',
    `X-Case: ${number}`,
    ...(contentType === '' ? [] : [`Content-Type: ${contentType}`]),
    ...(expectsContinue ? ['Expect: 100-continue'] : []),
    framing === 'chunked' ? 'Transfer-Encoding: chunked' : `Content-Length: ${declared[framing]}`,
  ].join('\r\n');
  // The head may hold what Node's own client would not send.
  const pieces: Buffer[] = [Buffer.from(`${head}\r\n\r\n`, 'latin1')];
  const step = Math.max(pieceBytes, Math.ceil(sent.length / 200));
  for (let at = 0; at < sent.length; at += step) {
    const piece = sent.subarray(at, at + step);
    if (framing === 'chunked') pieces.push(Buffer.from(`${piece.length.toString(16)}\r\n`));
    pieces.push(piece);
    if (framing === 'chunked') pieces.push(Buffer.from('\r\n'));
  }
  if (framing === 'chunked' && !isCut) pieces.push(Buffer.from('0\r\n\r\n'));
  const then = framing === 'long' && made.then === 'wait' ? 'close' : made.then;
  return { pieces, inTurns, method: 'POST', then, hasMore: framing === 'short' };
}

/** Every answer is whole and of this request; every refusal a problem body with a known code. */
function checkAnswer(answer: LaneAnswer, expected: { number: string; isFull: boolean }): void {
  const { status, headers, body } = answer;
  const fail = (what: string) => {
    throw new Error(`${what}: ${status} ${JSON.stringify([...headers])} ${body.toString('utf8')}`);
  };
  const number = headers.get('x-case');
  const isOfParser = number === undefined && headers.get('connection') === 'close';
  if (number !== expected.number && !isOfParser) fail(`an answer of case ${number ?? '?'}`);
  if (status === 200) {
    if (expected.isFull) fail('taken without room');
    return;
  }
  if (!/^application\/problem\+json/.test(headers.get('content-type') ?? '')) fail('no problem');
  const { code, status: stated } = JSON.parse(body.toString('utf8')) as Record<string, unknown>;
  const known = Object.entries(errorCodes).find(([name]) => name === code)?.[1];
  if (known?.status !== status || stated !== status) fail('an unknown code');
  if (status >= 500 && !(status === 507 && expected.isFull)) fail('a fault of the server');
  if (/[<>]|secret-name/.test(body.toString('latin1'))) fail('an echo');
}

function digestIn({ body }: LaneAnswer): string {
  return (JSON.parse(body.toString('utf8')) as { sha256: string }).sha256;
}

function digestOf(bytes: Buffer): string {
  return createHash('sha256').update(bytes).digest('hex');
}

/** Why this should not have been taken; undefined: it is one zip_file, and these are its bytes. */
function faultOfTaking(made: FormCase, sha256: string): string | undefined {
  const body = made.framing === 'short' ? made.body.subarray(0, made.body.length / 2) : made.body;
  if (/^application\/(x-)?zip/.test(made.contentType)) {
    return sha256 === digestOf(body) ? undefined : 'other bytes than were sent';
  }
  const { parts, ended } = readForm(body, made.boundary);
  if (!ended) return 'a form without an end';
  const candidates = parts.filter(couldBeZip);
  if (!candidates.some(({ content }) => digestOf(content) === sha256))
    return 'bytes of no zip_file';
  const plain = parts.flatMap((part) => {
    const read = plainPart(part);
    return read === undefined ? [] : [{ ...read, isEmpty: part.content.length === 0 }];
  });
  if (plain.some(({ name }) => name !== 'zip_file')) return 'a part of another name';
  const files = plain.filter(({ fileName, isEmpty }) => fileName || (fileName === '' && !isEmpty));
  if (files.length > 1) return 'two files';
  if (plain.some(({ fileName, isEmpty }) => fileName === undefined && !isEmpty)) return 'a field';
  return undefined;
}

/** Why this should have been taken; undefined: there is something wrong with it, or may be. */
function faultOfRefusing(made: FormCase): string | undefined {
  const { isPlainType, framing, then, isFull, body } = made;
  if (!isPlainType || isFull || then !== 'wait') return undefined;
  if (framing !== 'length' && framing !== 'chunked') return undefined;
  const { parts, ended } = readForm(body, made.boundary);
  const read = parts.map((part) => ({ ...plainPart(part), bytes: part.content.length }));
  const files = read.filter(({ fileName, bytes }) => fileName || (fileName === '' && bytes > 0));
  const empty = read.filter((part) => !files.includes(part));
  const isSound =
    ended &&
    read.length <= 3 &&
    files.length === 1 &&
    read.every(
      ({ name, encoding = '' }) => name === 'zip_file' && /^(7bit|8bit|binary)$/.test(encoding),
    ) &&
    empty.every(({ bytes }) => bytes === 0) &&
    files.every(({ bytes }) => bytes <= maxBytes && body.length - bytes < maxAroundBytes);
  return isSound ? 'refused without a reason' : undefined;
}

function show(made: FormCase): string {
  const { body, ...rest } = made;
  const text = JSON.stringify(body.toString('latin1').slice(0, 20_000))
    .replaceAll(/( content .{30}){2,}/g, '…')
    .replaceAll(/(.)\1{20,}/g, '$1…$1');
  return `${JSON.stringify(rest)}\n${text.slice(0, 3_000)}`;
}
