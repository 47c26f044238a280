import { execFileSync } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { inject } from 'vitest';
import type { DataTypeName } from '@inference-server/contracts';
import { testFolder } from '@inference-server/testing';

const files = [
  ...['tensor', 'predict', 'contract'].map((name) => `hydrosphere/${name}.proto`),
  'redhare/inference.proto',
  'model/v1/model.proto',
  'invocation/v1/invocation.proto',
  'inference/grpc_service.proto',
];

/**
 * Debian's Python with definitions that its protoc compiled from our .proto files. Commands are functions
 * of reference.py: a value in, one out.
 */
export async function pythonReference(): Promise<(command: string, value: unknown) => unknown> {
  const protos = join(inject('repository'), 'packages/protos');
  const compiled = join(await testFolder(), 'compiled');
  mkdirSync(compiled);
  execFileSync('protoc', ['-I', join(protos, 'proto'), `--python_out=${compiled}`, ...files]);
  return (command, value) => {
    const script = join(protos, 'test/reference.py');
    const answer = execFileSync('/usr/bin/python3', [script, compiled, command], {
      input: JSON.stringify(value),
      maxBuffer: 64 * 1024 * 1024,
      env: { PYTHONDONTWRITEBYTECODE: '1' },
    });
    return JSON.parse(answer.toString('utf8')) as unknown;
  };
}

/** What its command `tensors` makes. */
export interface TensorCase {
  dtype: DataTypeName;
  shape: number[];
  json: string;
  content: string;
  responses: string[];
}
