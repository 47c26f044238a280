import { status } from '@grpc/grpc-js';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import { callerHeader, writeCaller } from '@inference-server/contracts';
import { outlinePredictResponse, plainOutputs, tensorsOfValues } from '@inference-server/protos';
import { batchModelOf, keyOf, tokens } from './private-api.js';
import { clientOf, deferred, doubles, requestOf, soon, startScene } from './scene.js';
import { playTasks, problem, type Files, type Outcome } from './tasks.js';

const caller = {
  owner: 'key:a',
  role: 'submit',
  credential: 'key:a',
  address: '10.0.0.1',
} as const;
const headers = {
  authorization: `Bearer ${tokens.relay}`,
  [callerHeader]: writeCaller(caller),
  'content-type': 'application/json',
};

type Run = (files: Files, signal: AbortSignal) => Promise<Outcome>;

/** A batch model `cat`, which is what `run` is, and who asks it. */
async function startBatch(run: Run, options: Parameters<typeof startScene>[0] = {}) {
  const { api, gateway, address, httpUrl } = await startScene(options);
  const tasks = playTasks(api, run);
  api.tell({ batch_models: [batchModelOf('cat', 3)] });
  await expect.poll(() => api.reports.length, soon).toBeGreaterThan(1);
  const { predict } = clientOf(address);
  async function ask(body: string, asked: { version?: number; signal?: AbortSignal } = {}) {
    const query = asked.version === undefined ? '' : `?version=${asked.version}`;
    const answer = await fetch(`${httpUrl}/api/models/cat/predict${query}`, {
      ...{ method: 'POST', headers, body, signal: asked.signal ?? null },
    });
    return { status: answer.status, text: await answer.text() };
  }
  return { api, gateway, tasks, ask, predict };
}

const documentIn = (files: Files) => files['inputs.json']?.toString() ?? '';
const failing = (code: number, details: unknown) => ({ code, details });

describe('by values', () => {
  test('a task of the caller has the inputs, and its outputs are the answer', async () => {
    const { tasks, ask } = await startBatch(async (files) => ({
      'outputs.json': `{"same": ${documentIn(files)}, "thumb": {"file": "outputs/a.bin"}, "x": 1.0}`,
      'outputs/a.bin': Uint8Array.of(0xff, 0, 1),
      'outputs/unnamed.bin': 'no more',
    }));
    const body =
      '{"long": 9007199254740993, "at": [{"deep": {"base64": "/wA="}}], "ünicode/..": {"base64": ""}, "t": "für"}';
    const { status: code, text } = await ask(body, { version: 3 });
    const named =
      '{"long":9007199254740993,"at":[{"deep":{"file":"inputs/at/0/deep"}}],"ünicode/..":{"file":"inputs/@1"},"t":"für"}';
    expect(code).toBe(200);
    expect(text).toBe(
      `{"same":${named.replace('9007199254740993', '"9007199254740993"')},"thumb":{"base64":"/wAB"},"x":1}`,
    );
    const [{ files, ...post } = {}] = tasks.posts;
    expect(post).toMatchObject({ model: 'cat', owner: 'key:a' });
    expect(files?.['inputs.json']?.toString()).toBe(named);
    expect(files?.['inputs/at/0/deep']).toEqual(Buffer.from([0xff, 0]));
    expect(files?.['inputs/@1']).toEqual(Buffer.alloc(0));
    expect(tasks.cancels).toEqual([]);
  });

  test.each([
    ['no outputs.json', { 'output.json': '{}' }, 'no outputs.json'],
    ['no JSON', { 'outputs.json': '{"a": NaN}' }, 'outputs.json is no JSON'],
    ['no object', { 'outputs.json': '[1]' }, 'outputs.json is no object'],
    ['no such file', { 'outputs.json': '{"a": {"file": "outputs/b"}}' }, 'not in /output'],
    ['far too much', { 'outputs.json': `"${'a'.repeat(9_000_000)}"` }, 'larger'],
    ['a failed task', { failed: { log_tail: ['one', 'no such shape'] } }, 'no such shape'],
  ])('the model is at fault: %s', async (_what, outcome: Outcome, words) => {
    const { ask } = await startBatch(async () => outcome);
    const { status: code, text } = await ask('{}');
    expect([code, JSON.parse(text)]).toMatchObject([502, { code: 'MODEL_ERROR' }]);
    expect(text).toContain(words);
  });

  test.each([
    ['a file of its own', 422, '{"a": {"file": "/model/weights"}}'],
    ['no object', 422, '[1]'],
    ['no JSON', 400, '{"a": '],
  ])('the caller is at fault: %s', async (_what, code, body) => {
    const { tasks, ask } = await startBatch(async () => ({ 'outputs.json': '{}' }));
    expect((await ask(body)).status).toBe(code);
    expect(tasks.posts).toEqual([]);
  });

  test('another version than the current one is none', async () => {
    const { ask } = await startBatch(async () => ({ 'outputs.json': '{}' }));
    const { status: code, text } = await ask('{}', { version: 2 });
    expect(code).toBe(550);
    expect(text).toContain('not hosted at this version');
  });

  test('what private-api refuses is said in its words', async () => {
    const { tasks, ask } = await startBatch(async () => ({ 'outputs.json': '{}' }));
    tasks.instead = (request, response) => {
      request.resume();
      problem(response, 403, 'QUOTA_EXCEEDED', 'No more tasks today.');
      return true;
    };
    const { status: code, text } = await ask('{}');
    expect([code, JSON.parse(text)]).toMatchObject([403, { detail: 'No more tasks today.' }]);
  });
});

describe('by tensors', () => {
  const key = keyOf('a');

  test('a task has them by their types and shapes, and outputs are tensors', async () => {
    const { api, predict, tasks } = await startBatch(async (files) => ({
      'outputs.json': `{"same": ${documentIn(files)}, "one": [[1.0, 2], [3, 4]], "flags": [true]}`,
    }));
    api.callers.set(key, { owner: 'key:b' });
    const inputs = tensorsOfValues({ t: 'für', b: Uint8Array.of(0xff), n: [[1n, 2n ** 62n]] });
    const request = requestOf(
      { ...Object.fromEntries(inputs), x: doubles(0.5, 2) },
      { name: 'cat' },
    );
    const message = await predict(request, { key });
    expect(tasks.posts[0]).toMatchObject({ owner: 'key:b' });
    expect(tasks.posts[0]?.files['inputs/b']).toEqual(Buffer.from([0xff]));
    expect(plainOutputs({ outputs: [] }, message)).toEqual({
      one: [[1, 2], [3, 4]], // prettier-ignore
      flags: [true],
      same: {
        ...{ t: 'für', b: { file: 'inputs/b' }, n: [[1, 2n ** 62n]], x: [0.5, 2] },
      },
    });
    expect(outlinePredictResponse(message).outputs.get('one')?.dtype).toBe(2);
  });

  test('a text in millions of places is refused in a moment', async () => {
    const { predict, tasks } = await startBatch(async () => ({ 'outputs.json': '{}' }));
    // A DT_STRING of the shape [2000000] with one value of 1,000 letters.
    const head = Buffer.from('0807120612040880897a42e807', 'hex');
    const x = Buffer.concat([head, Buffer.alloc(1_000, 'a')]);
    const details = expect.stringContaining('too much room');
    await expect(predict(requestOf({ x }, { name: 'cat' }))).rejects.toMatchObject(
      failing(status.INVALID_ARGUMENT, details),
    );
    expect(tasks.posts).toEqual([]);
  });

  test('what is no tensor is named', async () => {
    const { predict } = await startBatch(async () => ({
      'outputs.json': '{"a": 1, "no": [1, "a"]}',
    }));
    const request = requestOf({ x: doubles(1) }, { name: 'cat' });
    const details = 'The output "no" is no tensor.';
    await expect(predict(request)).rejects.toMatchObject(failing(status.INTERNAL, details));
  });

  test('a deadline cancels the task', async () => {
    const gone = deferred();
    const { predict, tasks } = await startBatch(async (_files, signal) => {
      signal.addEventListener('abort', () => gone.resolve());
      return new Promise(() => undefined);
    });
    const request = requestOf({ x: doubles(1) }, { name: 'cat' });
    const late = expect.objectContaining({ code: status.DEADLINE_EXCEEDED }) as Error;
    await expect(predict(request, { deadlineMs: 500 })).rejects.toEqual(late);
    await gone.promise;
    expect(tasks.cancels).toEqual(['task-0']);
  });
});

describe('nobody’s task is left', () => {
  test('when its caller goes, be it before its post was answered', async () => {
    const begun = deferred();
    const { ask, tasks } = await startBatch(async () => {
      begun.resolve();
      return new Promise(() => undefined);
    });
    tasks.losesAnswers = 1;
    const going = new AbortController();
    const asked = ask('{}', { signal: going.signal });
    await begun.promise;
    going.abort();
    await expect(asked).rejects.toThrow();
    await expect.poll(() => tasks.cancels, soon).toEqual(['task-0']);
    expect(tasks.posts.length).toBe(1);
  });

  test('when the gateway stops', async () => {
    const begun = deferred();
    const { ask, gateway, tasks } = await startBatch(
      async () => {
        begun.resolve();
        return new Promise(() => undefined);
      },
      { stopGraceMs: 100 },
    );
    const asked = ask('{}').catch(() => undefined);
    await begun.promise;
    await gateway.close();
    await asked;
    expect(tasks.cancels).toEqual(['task-0']);
  });
});

test('while private-api is away the post and the wait go on', async () => {
  const [begun, answer] = [deferred(), deferred()];
  const { api, ask, tasks } = await startBatch(async () => {
    begun.resolve();
    await answer.promise;
    return { 'outputs.json': '{"a": 1}' };
  });
  tasks.losesAnswers = 2;
  const asked = ask('{}');
  await begun.promise;
  await expect.poll(() => tasks.losesAnswers, soon).toBe(0);
  api.goAway();
  answer.resolve();
  await sleep(300);
  api.comeBack();
  expect(await asked).toEqual({ status: 200, text: '{"a":1}' });
  expect(tasks.posts.length).toBe(1);
});

test('only so many calls wait, and their room is free again', async () => {
  const answer = deferred();
  const { ask, tasks } = await startBatch(
    async () => {
      await answer.promise;
      return { 'outputs.json': '{"a": 1}' };
    },
    { maxQueuePerModel: 2 },
  );
  const asked = [ask('{}'), ask('{}')];
  await expect.poll(() => tasks.posts.length, soon).toBe(2);
  expect((await ask('{}')).status).toBe(429);
  answer.resolve();
  for (const one of await Promise.all(asked)) expect(one.status).toBe(200);
  expect((await ask('{}')).status).toBe(200);
});
