import { setImmediate } from 'node:timers/promises';
import { isDeepStrictEqual } from 'node:util';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import fc from 'fast-check';
import type { ModelContract, ModelField } from '@inference-server/contracts';
import { AppError, messageOf } from '@inference-server/errors';
import {
  batchInputOf,
  contentOfOutputs,
  contentOfValues,
  contractOfInferRequest,
  decodeAuthRequest,
  decodeInferRequest,
  decodeInvocationRequest,
  decodeOipModelRequest,
  decodeStreamRequest,
  encodeAuthRequest,
  encodeInputs,
  encodeInvocationRequest,
  encodeOutputs,
  inferOutputsOf,
  inferRequestFromJson,
  inferResponseAsJson,
  inputsOfContent,
  jsonFromPredictResponse,
  jsonOfValues,
  metadataOfValues,
  outlinePredictRequest,
  outlinePredictResponse,
  plainOutputs,
  tensorsOfInferRequest,
  tensorsOfPlain,
  valuesOfTensors,
} from '@inference-server/protos';
import { madeInferRequest, madeOutputs } from './message-tensors.js';
import { often } from './often.js';
import type { FuzzRun } from './run-cases.js';

/**
 * Reads made and damaged messages of every door that has messages: each is read in time and within memory, or refused
 * with an AppError that repeats nothing of it. Throws with the seed, the case and what was wrong otherwise.
 */
export async function fuzzMessages({
  cases,
  seed,
  onCase,
}: FuzzRun): Promise<{ accepted: number }> {
  let accepted = 0;
  let done = 0;
  const { rss: before, heapUsed: heapBefore } = process.memoryUsage();
  const property = fc.asyncProperty(messageCase, async ({ kind, bytes }) => {
    onCase?.();
    done += 1;
    // Nothing here waits for anything, and the runner wants to hear of it.
    if (done % 1_000 === 0) await setImmediate();
    const began = performance.now();
    if (isRead(() => kinds[kind]?.read(bytes))) accepted += 1;
    if (performance.now() - began > caseTimeMs) throw new Error('it took too long');
    if (done % 500 === 0) {
      collect();
      const kept = process.memoryUsage().heapUsed - heapBefore;
      if (kept > maxKeptBytes) throw new Error(`${kept} bytes are kept`);
    }
    const growth = process.memoryUsage.rss() - before;
    if (growth > maxGrowthBytes) throw new Error(`memory has grown by ${growth} bytes`);
  });
  const found = await fc.check(property, { seed, numRuns: cases, endOnFailure: true });
  if (!found.failed) return { accepted };
  const [made] = found.counterexample ?? [];
  const cause = found.errorInstance;
  const shown = `${made?.kind ?? '?'} ${made?.bytes.toString('hex') ?? ''}`;
  throw new Error(`seed ${seed}: ${messageOf(cause)}: ${shown}`, { cause });
}

/** Far more than any takes that is told four times, and less than a machine is busy for. */
const caseTimeMs = 15_000;
/** What the largest that are told take until they are collected, and what the heap keeps of that for others. */
const maxGrowthBytes = 3 * 1024 ** 3;
const maxKeptBytes = 256 * 1024 ** 2;
setFlagsFromString('--expose-gc');
const collect = runInNewContext('gc') as () => void;
const marker = 'zq7';

function isRead(read: () => void): boolean {
  try {
    read();
    return true;
  } catch (error) {
    if (!(error instanceof AppError)) throw error;
    if (error.message.includes(marker)) throw new Error('an echo', { cause: error });
    if (isSlip(error.cause)) throw error;
    return false;
  }
}

/** Of the program, that was taken for a damaged message; text that is no UTF-8 is a TypeError with a code. */
function isSlip(cause: unknown): boolean {
  return cause instanceof ReferenceError || (cause instanceof TypeError && !('code' in cause));
}

const contract: ModelContract = {
  signature_name: 'predict',
  inputs: [
    { name: 'x', dtype: 'DT_INT64', shape: [-1, 2] },
    { name: 't', dtype: 'DT_STRING' },
    { name: 'f', dtype: 'DT_FLOAT', shape: [2] },
  ],
  outputs: [
    { name: 'x', dtype: 'DT_INT64' },
    { name: 't', dtype: 'DT_STRING' },
  ],
};
const text = (name: string): ModelField => ({ name, dtype: 'DT_STRING', shape: [] });
const metadata = { name: 'metadata', shape: [-1], subfields: [text('key'), text('value')] };
const withMetadata = { inputs: [contract.inputs[0]!, metadata] };
/** Of what has no shape of its own; a map's values have theirs. */
const mapped = { outputs: [...contract.inputs, { ...metadata, name: 'm' }] };
const values = { x: [[1, 2n ** 62n]], t: [marker, new Uint8Array([255])], f: [0.5, NaN] };
const maxJsonBytes = 8 * 1024 ** 2;

interface Kind {
  /** Which are damaged then. */
  sound: readonly Buffer[];
  /** Likewise, each another one. */
  made?: fc.Arbitrary<Buffer>;
  read(bytes: Buffer): void;
}

const head = '0a037a71371a037a7137220e0a087072696f7269747912022801';
const typed =
  '2a280a01781205494e5436341a0202022a181a1601feffffffffffffffff01ac02808080808080808040' +
  '2a140a0174120542595445531a01012a0542037a71372a180a01661204465033321a01022a0a32080000803f000020c0';
const raw =
  '2a0e0a01781205494e5436341a0202022a0d0a0174120542595445531a01012a0c0a01661204465033321a0102' +
  '3a200100000000000000feffffffffffffff2c010000000000000000000000000040' +
  '3a07030000007a71373a080000803f000020c0';
const document = JSON.stringify({
  inputs: [
    { name: 'x', shape: [1, 2], datatype: 'INT64', parameters: { binary_data_size: 16 } },
    { name: 't', shape: [1], datatype: 'BYTES', parameters: { binary_data_size: 7 } },
    { name: 'f', shape: [2], datatype: 'FP32', data: [1, 'NaN'] },
  ],
  outputs: [{ name: 't', parameters: { binary_data: false } }],
});
const behind = Buffer.from('01000000000000000200000000000000' + '030000007a7137', 'hex');
const invocation = (content: string) =>
  Buffer.concat(
    encodeInvocationRequest({
      ...{ id: 7, content: Buffer.from(content) },
      metadata: [{ key: 'k', value: marker }],
    }),
  );

const kinds: Record<string, Kind> = {
  'ModelInfer of a runtime model': {
    sound: [Buffer.from(head + typed, 'hex'), Buffer.from(head + raw, 'hex')],
    made: madeInferRequest,
    read: (bytes) => void encodeInputs(tensorsOfInferRequest(contract, decodeInferRequest(bytes))),
  },
  'ModelInfer of a batch model': {
    sound: [Buffer.from(head + typed, 'hex'), Buffer.from(head + raw, 'hex')],
    made: madeInferRequest,
    read(bytes) {
      const request = decodeInferRequest(bytes);
      const tensors = tensorsOfInferRequest(contractOfInferRequest(request), request);
      const { inputs } = outlinePredictRequest(Buffer.concat(encodeInputs(tensors)));
      valuesOfTensors(inputs);
    },
  },
  ModelReady: {
    sound: [Buffer.from('0a037a7137120131', 'hex')],
    read: (bytes) => void decodeOipModelRequest(bytes),
  },
  'infer by HTTP': {
    sound: [Buffer.concat([Buffer.from(document), behind])],
    read(bytes) {
      const length = Math.min(document.length, bytes.length);
      tensorsOfInferRequest(contract, inferRequestFromJson(contract, bytes, length));
    },
  },
  'an answer to it': {
    sound: [Buffer.concat(encodeOutputs(tensorsOfPlain(contract.inputs, values)))],
    read(bytes) {
      const asked = { outputs: [], isBinary: bytes.length % 2 === 0 };
      const outputs = inferOutputsOf(contract, asked, bytes);
      inferResponseAsJson({ modelName: 'm', modelVersion: '1', id: '' }, outputs);
    },
  },
  'an answer that is told': {
    sound: [Buffer.concat(encodeOutputs(tensorsOfPlain(contract.inputs, values)))],
    made: madeOutputs,
    read(bytes) {
      const told = plainOutputs(mapped, bytes);
      const json = jsonFromPredictResponse(mapped, bytes);
      if (jsonOfValues(told) !== json) throw new Error('values and JSON are not the same');
    },
  },
  'an answer as content': {
    sound: [Buffer.concat(encodeOutputs(tensorsOfPlain(contract.inputs, values)))],
    made: madeOutputs,
    read(bytes) {
      contentOfOutputs({ outputs: [text('x')] }, bytes);
      const told = plainOutputs(mapped, bytes);
      contentOfValues(told);
      metadataOfValues(told);
    },
  },
  'Predict of a batch model': {
    sound: [Buffer.concat(encodeOutputs(tensorsOfPlain(contract.inputs, values)))],
    made: madeOutputs,
    read: (bytes) =>
      void batchInputOf(valuesOfTensors(outlinePredictResponse(bytes).outputs), maxJsonBytes),
  },
  'Invoke with metadata as maps': {
    sound: [invocation('{"x":[[1,2]]}'), invocation(`{"x":[[1,2]],"metadata":[]}`)],
    read(bytes) {
      const input = decodeInvocationRequest(bytes);
      if (input === undefined) return;
      const { content, metadata } = input;
      const given = inputsOfContent(withMetadata, content, maxJsonBytes, metadata);
      const message = Buffer.concat(encodeOutputs(tensorsOfPlain(withMetadata.inputs, given)));
      const told = plainOutputs({ outputs: withMetadata.inputs }, message);
      if (!isDeepStrictEqual(told['metadata'], given['metadata'])) {
        throw new Error('the metadata is not what was given');
      }
    },
  },
  Invoke: {
    sound: [invocation('{"x":[[1,2]],"t":["zq7"],"f":[1,2]}'), invocation(marker)],
    read(bytes) {
      const input = decodeInvocationRequest(bytes);
      if (input === undefined) return;
      const { content, metadata } = input;
      tensorsOfPlain(contract.inputs, inputsOfContent(contract, content, maxJsonBytes, metadata));
    },
  },
  auth: {
    sound: [encodeAuthRequest(new Map([['model_name', marker]]))],
    read: (bytes) => void decodeAuthRequest(bytes),
  },
  stream_infer: {
    sound: [Buffer.from('12037a7137', 'hex'), Buffer.from('0a037a7137', 'hex')],
    read: (bytes) => void decodeStreamRequest(bytes),
  },
};

type Damage = (bytes: Buffer) => Buffer;
const share = fc.double({ min: 0, max: 1, noNaN: true });
const place = (bytes: Buffer, at: number) => Math.floor(at * bytes.length);
const piece = fc.oneof(
  fc.uint8Array({ maxLength: 12 }).map((bytes) => Buffer.from(bytes)),
  // Lengths and numbers at their ends, groups, fields of every kind.
  fc
    .constantFrom('ffffffffffffffffff01', 'ffffffff0f', '8080808008', '0b0c', '00', '0300', 'fa01')
    .map((hex) => Buffer.from(hex, 'hex')),
);
const damage: fc.Arbitrary<Damage> = fc.oneof(
  fc.tuple(share, fc.nat(255)).map(([at, byte]): Damage => (bytes) => {
    const changed = Buffer.from(bytes);
    if (changed.length > 0) changed[place(bytes, Math.min(at, 0.999))] = byte;
    return changed;
  }),
  share.map(
    (at): Damage =>
      (bytes) =>
        bytes.subarray(0, place(bytes, at)),
  ),
  fc.tuple(share, piece).map(([at, more]): Damage => (bytes) => {
    const to = place(bytes, at);
    return Buffer.concat([bytes.subarray(0, to), more, bytes.subarray(to)]);
  }),
  fc
    .tuple(share, share, fc.integer({ min: 0, max: 5 }))
    .map(([one, other, times]): Damage => (bytes) => {
      const [from, to] = [place(bytes, Math.min(one, other)), place(bytes, Math.max(one, other))];
      const again = new Array<Buffer>(times).fill(bytes.subarray(from, to));
      return Buffer.concat([bytes.subarray(0, from), ...again, bytes.subarray(to)]);
    }),
);

/** Most of what is made and not damaged goes further. */
const damages = fc.oneof(fc.constant<Damage[]>([]), often(3, fc.array(damage, { maxLength: 4 })));

const messageCase = fc.constantFrom(...Object.keys(kinds)).chain((kind) => {
  const { sound = [], made } = kinds[kind] ?? {};
  const whole = fc.constantFrom(...sound);
  return fc
    .tuple(made === undefined ? whole : fc.oneof(whole, often(3, made)), damages)
    .map(([message, all]) => ({ kind, bytes: all.reduce((bytes, act) => act(bytes), message) }));
});
