import { BinaryReader, WireType } from '@bufbuild/protobuf/wire';
import { GrpcError, type Method } from '@inference-server/grpc';

/** Whether calls are taken, as grpc.health.v1 and PredictionService/Status tell it. */
export interface ServingState {
  isServing(): boolean;
  /** The process ends: nobody waits for another change. */
  isStopping(): boolean;
  /** Called with every change, until the returned function is called. */
  onChange(changed: () => void): () => void;
}

const serving = 1;
const notServing = 2;
const serviceUnknown = 3;

const services = [
  '',
  'inference.GRPCInferenceService',
  'invocation.v1.Invocation',
  'redhare.Inference',
  'tensorflow.serving.PredictionService',
];

/** Health is open to everybody: it tells nothing but whether the door is open. */
export function healthMethods(state: ServingState): [path: string, method: Method][] {
  const statusNow = () => (state.isServing() ? serving : notServing);
  const check: Method = () => ({
    isOpen: true,
    unary: async (message) => {
      if (!services.includes(serviceIn(message))) {
        throw new GrpcError('NOT_FOUND', 'There is no such service here.');
      }
      return { message: [statusMessage(statusNow())] };
    },
  });
  const watch: Method = ({ signal }) => ({
    isOpen: true,
    stream: async (messages, write) => {
      let service: string | undefined;
      for await (const message of messages) {
        service = serviceIn(message);
        break;
      }
      const isKnown = services.includes(service ?? '');
      for (let last: number | undefined; ;) {
        const now = isKnown ? statusNow() : serviceUnknown;
        if (now !== last) await write([statusMessage(now)]);
        if (state.isStopping()) return {};
        last = now;
        await changeOf(state, signal);
      }
    },
  });
  const status: Method = () => ({
    isOpen: true,
    unary: async () => ({ message: [statusMessage(statusNow())] }),
  });
  return [
    ['/grpc.health.v1.Health/Check', check],
    ['/grpc.health.v1.Health/Watch', watch],
    ['/tensorflow.serving.PredictionService/Status', status],
  ];
}

/** The `service` of a HealthCheckRequest. */
function serviceIn(message: Buffer): string {
  try {
    const reader = new BinaryReader(message);
    let service = '';
    while (reader.pos < reader.len) {
      const [field, wireType] = reader.tag();
      if (field === 1 && wireType === WireType.LengthDelimited) service = reader.string();
      else reader.skip(wireType, field);
    }
    return service;
  } catch (cause) {
    throw new GrpcError('INVALID_ARGUMENT', 'The request is no valid protobuf message.', { cause });
  }
}

/** Of HealthCheckResponse and StatusResponse alike: field 1, an enum whose numbers agree. */
function statusMessage(status: number): Buffer {
  return Buffer.from([0x08, status]);
}

function changeOf(state: ServingState, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const over = () => {
      stop();
      reject(signal.reason as Error);
    };
    const stop = state.onChange(() => {
      stop();
      signal.removeEventListener('abort', over);
      resolve();
    });
    if (signal.aborted) over();
    else signal.addEventListener('abort', over, { once: true });
  });
}
