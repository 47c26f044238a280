import { BinaryReader, BinaryWriter, WireType } from '@bufbuild/protobuf/wire';
import { GrpcError, statusCodes, type Method } from '@inference-server/grpc';
import { fileDescriptors } from '@inference-server/protos';

const services = [
  'grpc.health.v1.Health',
  'grpc.reflection.v1.ServerReflection',
  'grpc.reflection.v1alpha.ServerReflection',
  'inference.GRPCInferenceService',
  'invocation.v1.Invocation',
  'redhare.Inference',
  'tensorflow.serving.PredictionService',
];

/** Answers what the door offers: its services, and the files that describe them. */
export function reflectionMethods(): [path: string, method: Method][] {
  const index = indexOf(fileDescriptors);
  const method: Method = () => ({
    isOpen: true,
    stream: async (messages, write) => {
      for await (const message of messages) await write([answerTo(message, index)]);
      return {};
    },
  });
  return ['v1', 'v1alpha'].map((version) => [
    `/grpc.reflection.${version}.ServerReflection/ServerReflectionInfo`,
    method,
  ]);
}

interface Index {
  bySymbol: ReadonlyMap<string, string>;
  imports: ReadonlyMap<string, readonly string[]>;
}

/** The fields of a message that have a length, in order. */
function partsOf(message: Uint8Array): { field: number; bytes: Uint8Array }[] {
  const parts: { field: number; bytes: Uint8Array }[] = [];
  const reader = new BinaryReader(message);
  while (reader.pos < reader.len) {
    const [field, wireType] = reader.tag();
    if (wireType === WireType.LengthDelimited) parts.push({ field, bytes: reader.bytes() });
    else reader.skip(wireType, field);
  }
  return parts;
}

const textOf = (bytes: Uint8Array | undefined) => Buffer.from(bytes ?? []).toString();

/** Numbers of FileDescriptorProto. */
const inFile = { package: 2, dependency: 3, message: 4, enum: 5, service: 6 };
const inMessage = { name: 1, nested: 3, enum: 4 };
const inService = { name: 1, method: 2 };

function indexOf(files: ReadonlyMap<string, Buffer>): Index {
  const bySymbol = new Map<string, string>();
  const imports = new Map<string, string[]>();
  for (const [file, bytes] of files) {
    const parts = partsOf(bytes);
    const all = (field: number) => parts.filter((part) => part.field === field);
    imports.set(
      file,
      all(inFile.dependency).map((part) => textOf(part.bytes)),
    );
    const scope = textOf(all(inFile.package)[0]?.bytes);
    const note = (within: string, name: string) => {
      const full = within === '' ? name : `${within}.${name}`;
      bySymbol.set(full, file);
      return full;
    };
    const noteMessage = (within: string, message: Uint8Array) => {
      const own = partsOf(message);
      const full = note(within, textOf(own.find(({ field }) => field === inMessage.name)?.bytes));
      for (const { field, bytes: inner } of own) {
        if (field === inMessage.nested) noteMessage(full, inner);
        else if (field === inMessage.enum) noteEnum(full, inner);
      }
    };
    const noteEnum = (within: string, one: Uint8Array) => {
      note(within, textOf(partsOf(one).find(({ field }) => field === 1)?.bytes));
    };
    for (const { bytes: message } of all(inFile.message)) noteMessage(scope, message);
    for (const { bytes: one } of all(inFile.enum)) noteEnum(scope, one);
    for (const { bytes: service } of all(inFile.service)) {
      const own = partsOf(service);
      const full = note(scope, textOf(own.find(({ field }) => field === inService.name)?.bytes));
      for (const { field, bytes: one } of own) {
        if (field !== inService.method) continue;
        note(full, textOf(partsOf(one).find((part) => part.field === 1)?.bytes));
      }
    }
  }
  return { bySymbol, imports };
}

/** Numbers of ServerReflectionRequest, and of what is answered. */
const asked = { byName: 3, bySymbol: 4, byExtension: 5, extensions: 6, services: 7 };
const answered = { originalRequest: 2, files: 4, services: 6, error: 7 };

function answerTo(request: Buffer, index: Index): Buffer {
  let parts: { field: number; bytes: Uint8Array }[];
  try {
    parts = partsOf(request);
  } catch (cause) {
    throw new GrpcError('INVALID_ARGUMENT', 'The request is no valid protobuf message.', { cause });
  }
  const question = parts.findLast(({ field }) => field >= asked.byName && field <= asked.services);
  const answer = new BinaryWriter()
    .tag(answered.originalRequest, WireType.LengthDelimited)
    .bytes(request);
  const { field, bytes } = question ?? { field: 0, bytes: undefined };
  if (field === asked.services) {
    answer.tag(answered.services, WireType.LengthDelimited).fork();
    for (const name of services) {
      answer.tag(1, WireType.LengthDelimited).fork();
      answer.tag(1, WireType.LengthDelimited).string(name).join();
    }
    return Buffer.from(answer.join().finish());
  }
  const text = textOf(bytes);
  const file = field === asked.byName ? text : index.bySymbol.get(text);
  const isOfFile = field === asked.byName || field === asked.bySymbol;
  const found = isOfFile && file !== undefined ? withImports(file, index) : [];
  if (found.length > 0) {
    answer.tag(answered.files, WireType.LengthDelimited).fork();
    for (const one of found) answer.tag(1, WireType.LengthDelimited).bytes(one);
    return Buffer.from(answer.join().finish());
  }
  answer.tag(answered.error, WireType.LengthDelimited).fork();
  answer.tag(1, WireType.Varint).int32(statusCodes.NOT_FOUND);
  answer.tag(2, WireType.LengthDelimited).string('There is no such file or symbol here.');
  return Buffer.from(answer.join().finish());
}

/** A file, and after it all that it needs. */
function withImports(file: string, { imports }: Index): Buffer[] {
  const names = new Set([file]);
  for (const name of names) for (const needed of imports.get(name) ?? []) names.add(needed);
  return [...names].flatMap((name) => fileDescriptors.get(name) ?? []);
}
