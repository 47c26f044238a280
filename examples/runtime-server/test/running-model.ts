import { execFile, spawn } from 'node:child_process';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { promisify } from 'node:util';
import { inject, onTestFinished } from 'vitest';
import { encodeModelContract, parseContractJson } from '@inference-server/protos';
import { testFolder } from '@inference-server/testing';

const run = promisify(execFile);

/** The /model folder of an example with this contract, in a folder of its own. */
export async function modelFolder(
  contract: string,
  files: Record<string, Buffer> = {},
): Promise<string> {
  const folder = await testFolder();
  await mkdir(join(folder, 'files'));
  const bytes = encodeModelContract(parseContractJson(contract), 'example');
  await writeFile(join(folder, 'contract.protobin'), bytes);
  for (const [name, content] of Object.entries(files)) {
    await writeFile(join(folder, 'files', name), content);
  }
  return folder;
}

/** Runs an example's bundle as its container does, until the test ends; gives its address. */
export async function startModel(example: string, folder: string): Promise<string> {
  const bundle = join(inject('repository'), 'examples', example, 'dist/main.cjs');
  const model = spawn(process.execPath, [bundle], {
    env: { APP_PORT: '0', MODEL_FOLDER: folder },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const ended = new Promise((resolve) => model.once('exit', resolve));
  onTestFinished(async () => {
    model.kill('SIGTERM');
    await ended;
  });
  for await (const line of createInterface(model.stdout)) {
    const [, port] = /^listening on (\d+)$/.exec(line) ?? [];
    if (port !== undefined) return `127.0.0.1:${port}`;
  }
  throw new Error('The model ended before it listened.');
}

/** What the example's client in TypeScript prints. */
export async function typescriptClient(example: string, args: string[]): Promise<string> {
  const bundle = join(inject('repository'), 'examples', example, 'dist/client.cjs');
  return (await run(process.execPath, [bundle, ...args], { timeout: 20_000 })).stdout;
}

/** What the example's client in Python prints, on definitions compiled from our .proto files. */
export async function pythonClient(example: string, args: string[]): Promise<string> {
  const compiled = join(await testFolder(), 'compiled');
  await mkdir(compiled);
  await run('protoc', [
    ...['-I', join(inject('repository'), 'packages/protos/proto')],
    ...[`--python_out=${compiled}`, `--grpc_python_out=${compiled}`],
    '--plugin=protoc-gen-grpc_python=/usr/bin/grpc_python_plugin',
    ...['hydrosphere/tensor.proto', 'hydrosphere/predict.proto'],
    'services/prediction_service.proto',
  ]);
  const script = join(inject('repository'), 'examples', example, 'client.py');
  const env = { PYTHONPATH: compiled, PYTHONDONTWRITEBYTECODE: '1' };
  return (await run('/usr/bin/python3', [script, ...args], { env, timeout: 20_000 })).stdout;
}
