// node generate-descriptors.mjs [--check]: writes src/file-descriptors.ts from the .proto files, or says
// whether what is there agrees with them. Needs Debian's protobuf-compiler.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const folder = fileURLToPath(new URL('proto', import.meta.url));
const target = fileURLToPath(new URL('src/file-descriptors.ts', import.meta.url));
const files = [
  'services/prediction_service.proto',
  'hydrosphere/contract.proto',
  'services/health.proto',
  'services/reflection_v1.proto',
  'services/reflection_v1alpha.proto',
  'redhare/inference.proto',
  'invocation/v1/invocation.proto',
  'inference/grpc_service.proto',
];

const source = sourceOf(descriptorsOf(compile()));
if (process.argv.includes('--check')) {
  if (readFileSync(target, 'utf8') !== source) {
    console.error('file-descriptors.ts is not what the .proto files say: run this without --check');
    process.exitCode = 1;
  }
} else {
  writeFileSync(target, source);
}

/** A google.protobuf.FileDescriptorSet of the files and all that they import. */
function compile() {
  const out = mkdtempSync(join(tmpdir(), 'protos-'));
  try {
    const set = join(out, 'set.pb');
    execFileSync('protoc', [
      '-I',
      folder,
      '--include_imports',
      `--descriptor_set_out=${set}`,
      ...files,
    ]);
    return readFileSync(set);
  } finally {
    rmSync(out, { recursive: true, force: true });
  }
}

/** The set has one field: 1, repeated, a file. The first field of a file is its name. */
function descriptorsOf(set) {
  const descriptors = new Map();
  for (let at = 0; at < set.length;) {
    const length = varint(set, at + 1);
    const file = set.subarray(length.next, length.next + length.value);
    const name = varint(file, 1);
    descriptors.set(file.toString('utf8', name.next, name.next + name.value), file);
    at = length.next + length.value;
  }
  return descriptors;
}

function varint(bytes, at) {
  let value = 0;
  let next = at;
  for (let shift = 0; ; shift += 7) {
    const byte = bytes[next++];
    value |= (byte & 0x7f) << shift;
    if (byte < 0x80) return { value, next };
  }
}

function sourceOf(descriptors) {
  const entries = [...descriptors].map(([name, file]) => {
    const lines = file.toString('base64').match(/.{1,90}/g);
    return `  [\n    '${name}',\n${lines.map((line) => `    '${line}'`).join(' +\n')},\n  ],\n`;
  });
  return (
    '// Written by generate-descriptors.mjs.\n' +
    '// prettier-ignore\n' +
    `const encoded = [\n${entries.join('')}] as const;\n\n` +
    '/**\n * Our .proto files and what they import, each as a serialised google.protobuf.FileDescriptorProto, by\n' +
    ' * name: what gRPC reflection answers with. A file comes after what it imports.\n */\n' +
    'export const fileDescriptors: ReadonlyMap<string, Buffer> = new Map(\n' +
    "  encoded.map(([name, base64]) => [name, Buffer.from(base64, 'base64')]),\n);\n"
  );
}
