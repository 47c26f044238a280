import { once } from 'node:events';
import { connect } from 'node:net';
import { expect, test } from 'vitest';
import { callerHeader, writeCaller, type ModelContract } from '@inference-server/contracts';
import { clientOf, echo, readyAt, soon, startReplica, startScene } from './scene.js';
import { modelOf, tokens } from './private-api.js';

/** The requests of tritonclient, byte for byte: of its HTTP client, and of the protobuf of its gRPC client. */

const fields: ModelContract['inputs'] = [
  { name: 'x', dtype: 'DT_FLOAT', shape: [-1, 2] },
  { name: 't', dtype: 'DT_STRING', shape: [-1] },
];
const model = modelOf(1, {
  human_readable_id: 'a model',
  contract: { signature_name: 'predict', inputs: fields, outputs: fields },
});
const caller = { owner: 'key:a', role: 'submit', credential: 'key:a', address: '::1' } as const;

async function startServing() {
  const { api, address, httpUrl } = await startScene();
  const replica = await startReplica(echo);
  api.tell({ models: [model], replicas: readyAt(model, replica.address) });
  await expect.poll(() => api.reports.length, soon).toBeGreaterThan(1);
  return { address, port: Number(new URL(httpUrl).port) };
}

/** As it goes over the wire, with what public-api adds. Its client gives no content type. */
async function post(port: number, json: string, binary?: Buffer): Promise<[string, Buffer]> {
  const body = Buffer.concat([Buffer.from(json), ...(binary === undefined ? [] : [binary])]);
  const head = [
    'POST /v2/models/a%20model/infer HTTP/1.1',
    'User-Agent: python/gevent-http-client-2.3.1',
    `Authorization: Bearer ${tokens.relay}`,
    `${callerHeader}: ${writeCaller(caller)}`,
    ...(binary === undefined ? [] : [`Inference-Header-Content-Length: ${json.length}`]),
    `Host: 127.0.0.1:${port}`,
    `Content-Length: ${body.length}`,
  ];
  const socket = connect(port, '127.0.0.1');
  try {
    socket.write(Buffer.concat([Buffer.from(`${head.join('\r\n')}\r\n\r\n`), body]));
    let answer = Buffer.alloc(0);
    for (;;) {
      const [chunk] = (await once(socket, 'data', { signal: AbortSignal.timeout(10_000) })) as [
        Buffer,
      ];
      answer = Buffer.concat([answer, chunk]);
      const end = answer.indexOf('\r\n\r\n');
      const told = answer.toString('latin1', 0, Math.max(end, 0));
      const length = /^content-length: (\d+)$/im.exec(told)?.[1];
      const content = answer.subarray(end + 4);
      if (length !== undefined && content.length >= Number(length)) return [told, content];
    }
  } finally {
    socket.destroy();
  }
}

const numbers = Buffer.from(Float32Array.of(1, 2, 3, -0.5).buffer);
/** b'\xff\x00' and 'für', each with its length before it. */
const texts = Buffer.from('02000000ff00' + '0400000066c3bc72', 'hex');
const sized =
  '{"name":"x","shape":[2,2],"datatype":"FP32","parameters":{"binary_data_size":16}},' +
  '{"name":"t","shape":[2],"datatype":"BYTES","parameters":{"binary_data_size":14}}';

test('arrays go as bytes and come as bytes where nothing else is said', async () => {
  const { port } = await startServing();
  const json = `{"id":"17","inputs":[${sized}],"parameters":{"priority":1,"timeout":500000,"binary_data_output":true}}`;
  const [head, content] = await post(port, json, Buffer.concat([numbers, texts]));
  const answered =
    '{"model_name":"a model","model_version":"1","id":"17","outputs":[' +
    '{"name":"x","datatype":"FP32","shape":[2,2],"parameters":{"binary_data_size":16}},' +
    '{"name":"t","datatype":"BYTES","shape":[2],"parameters":{"binary_data_size":14}}]}';
  expect(head).toMatch(/^HTTP\/1\.1 200 /);
  expect(head.toLowerCase()).toContain(`inference-header-content-length: ${answered.length}`);
  expect(content).toEqual(Buffer.concat([Buffer.from(answered), numbers, texts]));
});

test('arrays go as JSON and come as JSON where that is asked for', async () => {
  const { port } = await startServing();
  const json =
    '{"inputs":[{"name":"x","shape":[1,2],"datatype":"FP32","data":[0.10000000149011612,-3e+38]},' +
    '{"name":"t","shape":[1],"datatype":"BYTES","data":["f\\u00fcr"]}],' +
    '"outputs":[{"name":"t","parameters":{"binary_data":false}},{"name":"x","parameters":{"binary_data":true}}]}';
  const [head, content] = await post(port, json);
  const answered =
    '{"model_name":"a model","model_version":"1","outputs":[' +
    '{"name":"t","datatype":"BYTES","shape":[1],"data":["für"]},' +
    '{"name":"x","datatype":"FP32","shape":[1,2],"parameters":{"binary_data_size":8}}]}';
  const bytes = Buffer.from(answered);
  expect(head.toLowerCase()).toContain(`inference-header-content-length: ${bytes.length}`);
  const floats = Buffer.from(Float32Array.of(0.1, -3e38).buffer);
  expect(content).toEqual(Buffer.concat([bytes, floats]));
});

test('arrays of nothing, and what the server does not have', async () => {
  const { port } = await startServing();
  const nothing =
    '{"inputs":[{"name":"x","shape":[0,2],"datatype":"FP32","parameters":{"binary_data_size":0}},' +
    '{"name":"t","shape":[0],"datatype":"BYTES","parameters":{"binary_data_size":0}}],"parameters":{"binary_data_output":true}}';
  const [head, content] = await post(port, nothing, Buffer.alloc(0));
  expect(head.toLowerCase()).toContain(`inference-header-content-length: ${content.length}`);
  expect(JSON.parse(content.toString())).toMatchObject({
    outputs: [{ parameters: { binary_data_size: 0 } }, { parameters: { binary_data_size: 0 } }],
  });
  const shared =
    '{"inputs":[{"name":"x","shape":[1,2],"datatype":"FP32","parameters":{"shared_memory_region":"r","shared_memory_byte_size":8}}],"parameters":{"binary_data_output":true}}';
  const [refused, why] = await post(port, shared);
  expect(refused).toMatch(/^HTTP\/1\.1 400 /);
  expect(Object.keys(JSON.parse(why.toString()) as object)).toEqual(['error']);
});

test('a message of its gRPC client is answered with raw contents', async () => {
  const { address } = await startServing();
  // model_name and id; timeout and priority, which are hints; x and t without contents; raw_input_contents.
  const request = [
    ...['0a0761206d6f64656c', '1a023137'],
    ...['220f0a0774696d656f7574120410a0c21e', '220e0a087072696f7269747912022801'],
    ...['2a0d0a01781204465033321a020202', '2a0d0a0174120542595445531a0102'],
    ...[`3a10${numbers.toString('hex')}`, `3a0e${texts.toString('hex')}`],
  ];
  const answer = await clientOf(address).unary(
    '/inference.GRPCInferenceService/ModelInfer',
    Buffer.from(request.join(''), 'hex'),
  );
  const answered = [
    ...['0a0761206d6f64656c', '120131', '1a023137'],
    ...['2a0d0a01781204465033321a020202', '2a0d0a0174120542595445531a0102'],
    ...[`3210${numbers.toString('hex')}`, `320e${texts.toString('hex')}`],
  ];
  expect(answer.toString('hex')).toBe(answered.join(''));
});
