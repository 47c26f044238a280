import { createHash, randomBytes } from 'node:crypto';
import { buffer } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import type { AddressInfo } from 'node:net';
import type { Readable } from 'node:stream';
import {
  routes,
  usualRights,
  type AttemptResult,
  type ConsumerRegistration,
  type Work,
} from '@inference-server/contracts';
import { AppError } from '@inference-server/errors';
import {
  closeHttpServer,
  createHttpServer,
  createLogger,
  mountRoute,
} from '@inference-server/service-kit';
import { needs, whenFileEnds } from '@inference-server/testing';
import { mountReplicas, type TestReplicas } from './test-replicas.js';

/** private-api's side of the contract for consumers, over HTTP, with its rows in memory. */
export interface TestPrivateApi {
  url: string;
  replicas: TestReplicas;
  registrations: (ConsumerRegistration & { id: string })[];
  signedOff: string[];
  /** Sign-offs and settlements, as they came. */
  order: string[];
  /** Consumers that another process speaks for by now, though a heartbeat has not said so yet. */
  replacedConsumers: Set<string>;
  /** How often one of these has asked for an attempt. */
  adoptionsOfReplaced: number;
  /** Whose device is another's, with what they are told. */
  takenDevices: Map<string, string>;
  /** How often they were told. */
  refusedRegistrations: number;
  /** How long the answer to a claim that was won takes. */
  claimAnswerMs: number;
  /** Tasks by uid, with what became of them. */
  tasks: Map<string, TestTask>;
  /** How often a model's files were asked for. */
  modelFetches: string[];
  /** The model versions that are said to be of no use. */
  unusedVersions: Set<string>;
  /** The consumers that are said to be gone for good, and those that are said to be none. */
  goneConsumers: Set<string>;
  unknownConsumers: Set<string>;
  /** What it says of which installation it is. */
  installationId: string;
  addTask(task: { work: Partial<Work>; input: Buffer; modelFiles?: Buffer }): TestTask;
  /** Breaks off the next downloads half-way. */
  breakDownloads(count: number): void;
  /** Answers every call with 503 while set. */
  away: boolean;
  close(): Promise<void>;
}

export interface TestTask {
  uid: string;
  attempt: number;
  work: Work;
  input: Buffer;
  modelFiles: Buffer | undefined;
  holder: string | undefined;
  /** How often it was claimed by its holder. */
  claims: number;
  epoch: number;
  isSuperseded: boolean;
  cancelRequested: boolean;
  parked: boolean;
  renewals: number;
  leaseMs: number;
  /** Whether renewals are not answered, within a minute. */
  renewalsHang: boolean;
  refusedRenewals: number;
  /** How long the answer to a parking takes, and how many renewals have come after it. */
  parkAnswerMs: number;
  renewalsWhenParked: number;
  outputs: Buffer[];
  settlements: AttemptResult[];
  /** Refuses to have it adopted with this. */
  refuseAdoption?: AppError;
  /** Waited for before the answer to an adoption. */
  onAdoption?: () => Promise<void>;
  /** Refuses outputs with this. */
  refuseOutput?: AppError;
  refusals: number;
  /** Calls the attempt superseded when it is to be settled, and not before. */
  refuseSettlement?: boolean;
  /** Answers an output with this digest in place of its own. */
  storedSha256?: string;
  settled: Promise<AttemptResult>;
  settle(result: AttemptResult): void;
}

export async function startTestPrivateApi(
  installationId: string,
  { leaseCallMs = 200 } = {},
): Promise<TestPrivateApi> {
  const app = createHttpServer({ logger: createLogger('test-private-api', 'silent') });
  app.addContentTypeParser('application/zip', (_request, payload, done) => done(null, payload));
  let broken = 0;

  const tasks = new Map<string, TestTask>();
  const taskOf = (params: { task_uid: string; attempt: number }) => {
    const task = tasks.get(params.task_uid);
    if (task?.attempt !== params.attempt) throw new AppError('CONFLICT', 'unknown attempt');
    return task;
  };
  const send = (bytes: Buffer) => {
    if (broken === 0) return bytes;
    broken -= 1;
    return bytes.subarray(0, bytes.length / 2);
  };

  const api: TestPrivateApi = {
    url: '',
    replicas: mountReplicas(app),
    registrations: [],
    signedOff: [],
    order: [],
    replacedConsumers: new Set(),
    adoptionsOfReplaced: 0,
    takenDevices: new Map(),
    refusedRegistrations: 0,
    claimAnswerMs: 0,
    tasks,
    modelFetches: [],
    unusedVersions: new Set(),
    goneConsumers: new Set(),
    unknownConsumers: new Set(),
    installationId,
    away: false,
    addTask: ({ work, input, modelFiles }) => {
      let settle: (result: AttemptResult) => void = () => undefined;
      const settled = new Promise<AttemptResult>((resolve) => (settle = resolve));
      const task: TestTask = {
        uid: randomBytes(32).toString('base64url'),
        attempt: 1,
        work: {
          model_version_id: 'version-1',
          human_readable_id: 'test',
          container_tag: 'absent:1',
          pull_policy: 'missing',
          timeout_s: 60,
          needs: needs(),
          rights: usualRights,
          lenders: [],
          model_files: modelFiles === undefined ? null : referenceOf(modelFiles),
          input: referenceOf(input),
          ...work,
        },
        input,
        modelFiles,
        holder: undefined,
        claims: 0,
        epoch: 1,
        isSuperseded: false,
        cancelRequested: false,
        parked: false,
        renewals: 0,
        leaseMs: 30_000,
        renewalsHang: false,
        refusedRenewals: 0,
        parkAnswerMs: 0,
        renewalsWhenParked: 0,
        refusals: 0,
        outputs: [],
        settlements: [],
        settled,
        settle,
      };
      tasks.set(task.uid, task);
      return task;
    },
    breakDownloads: (count) => {
      broken = count;
    },
    close: () => closeHttpServer(app, 1_000),
  };

  app.addHook('onRequest', async () => {
    if (api.away) throw new AppError('SERVICE_UNAVAILABLE', 'away');
  });
  mountRoute(app, routes.registerConsumer, async ({ params, body }) => {
    const taken = api.takenDevices.get(params.consumer_id);
    if (taken !== undefined) {
      api.refusedRegistrations += 1;
      throw new AppError('DEVICE_TAKEN', taken);
    }
    api.registrations.push({ id: params.consumer_id, ...body });
    return { installation_id: api.installationId, heartbeat_interval_ms: 300 };
  });
  mountRoute(app, routes.signOffConsumer, async ({ params }) => {
    api.signedOff.push(params.consumer_id);
    api.order.push(`signed off ${params.consumer_id}`);
    return { returned_tickets: 0 };
  });
  mountRoute(app, routes.findUnusedModelVersions, async ({ body }) => ({
    installation_id: api.installationId,
    unused: body.model_version_ids.filter((id) => api.unusedVersions.has(id)),
  }));
  mountRoute(app, routes.findGoneConsumers, async ({ body }) => ({
    installation_id: api.installationId,
    gone: body.consumer_ids.filter((id) => api.goneConsumers.has(id)),
    unknown: body.consumer_ids.filter((id) => api.unknownConsumers.has(id)),
  }));
  mountRoute(app, routes.claimAttempt, async ({ params, body }) => {
    const task = tasks.get(params.task_uid);
    const isAdopted = task?.holder !== undefined && task.epoch > 1;
    if (task === undefined || isAdopted || (task.holder ?? body.holder) !== body.holder) {
      return { outcome: 'refused', reason: 'the ticket is stale' } as const;
    }
    task.holder = body.holder;
    task.claims += 1;
    await sleep(api.claimAnswerMs);
    return { outcome: 'won', epoch: task.epoch, lease_ms: task.leaseMs, work: task.work } as const;
  });
  mountRoute(app, routes.listHeldAttempts, async ({ params }) =>
    [...tasks.values()]
      .filter((task) => task.holder !== undefined && task.settlements.length === 0)
      .filter(({ holder }) => {
        const speaker = api.registrations.find((one) => one.holder === holder);
        return speaker === undefined || speaker.id === params.consumer_id;
      })
      .map(({ uid, attempt }) => ({ task_uid: uid, attempt })),
  );
  mountRoute(app, routes.adoptAttempt, async ({ params, body }) => {
    const task = tasks.get(params.task_uid);
    const speaker = api.registrations.find(({ holder }) => holder === body.holder);
    if (speaker === undefined || api.replacedConsumers.has(speaker.id)) {
      api.adoptionsOfReplaced += 1;
      throw new AppError('CONSUMER_EXISTS', 'Another process is the consumer.');
    }
    await task?.onAdoption?.();
    if (task?.refuseAdoption !== undefined) throw task.refuseAdoption;
    if (task?.holder === undefined || task.isSuperseded || task.settlements.length > 0) {
      return { outcome: 'superseded' } as const;
    }
    if (task.holder !== body.holder || task.epoch === 1) {
      task.epoch += 1;
      task.holder = body.holder;
      task.parked = false;
    }
    return { outcome: 'won', epoch: task.epoch, lease_ms: task.leaseMs, work: task.work } as const;
  });
  mountRoute(app, routes.parkLease, async ({ params, body }) => {
    const task = taskOf(params);
    const refusal = refusalOf(task, body.epoch);
    if (refusal !== undefined) return refusal;
    task.parked = true;
    await sleep(task.parkAnswerMs);
    return { outcome: 'parked', parked_ms: 600_000 } as const;
  });
  mountRoute(app, routes.renewLease, async ({ params, body }) => {
    const task = taskOf(params);
    task.renewals += 1;
    if (task.parked) task.renewalsWhenParked += 1;
    for (let waited = 0; task.renewalsHang && waited < 60_000; waited += 20) await sleep(20);
    const isNews = () =>
      refusalOf(task, body.epoch) !== undefined || (task.cancelRequested && !body.knows_of_cancel);
    for (let waited = 0; waited < leaseCallMs && !isNews(); waited += 20) await sleep(20);
    const refusal = refusalOf(task, body.epoch);
    if (refusal !== undefined) task.refusedRenewals += 1;
    return (
      refusal ??
      ({
        outcome: 'renewed',
        lease_ms: task.leaseMs,
        cancel_requested: task.cancelRequested,
      } as const)
    );
  });
  mountRoute(app, routes.getAttemptInput, async ({ params }, reply) => {
    const { input } = taskOf(params);
    return reply.type('application/zip').send(send(input));
  });
  mountRoute(app, routes.getAttemptModelFiles, async ({ params }, reply) => {
    const task = taskOf(params);
    api.modelFetches.push(task.uid);
    return reply.type('application/zip').send(send(task.modelFiles ?? Buffer.alloc(0)));
  });
  mountRoute(app, routes.putAttemptOutput, async ({ params, http }) => {
    const task = taskOf(params);
    if (task.refuseOutput !== undefined) {
      task.refusals += 1;
      throw task.refuseOutput;
    }
    const output = await buffer(http.body as Readable);
    task.outputs.push(output);
    const reference = referenceOf(output);
    return { ...reference, sha256: task.storedSha256 ?? reference.sha256 };
  });
  mountRoute(app, routes.settleAttempt, async ({ params, body }) => {
    const task = taskOf(params);
    const refusal = refusalOf(task, body.lease.epoch);
    if (refusal !== undefined) return refusal;
    if (task.refuseSettlement === true) {
      task.settle(body.result);
      return { outcome: 'superseded' } as const;
    }
    const isResult = body.result.kind === 'finished' || body.result.kind === 'failed';
    if (task.cancelRequested && isResult) return { outcome: 'cancel_requested' } as const;
    task.settlements.push(body.result);
    api.order.push(`${body.result.kind} ${task.uid}`);
    task.settle(body.result);
    return { outcome: 'settled' } as const;
  });

  await app.listen({ host: '127.0.0.1', port: 0 });
  api.url = `http://127.0.0.1:${(app.server.address() as AddressInfo).port}`;
  whenFileEnds('test private-api', api.close);
  return api;
}

function refusalOf({ isSuperseded, epoch }: TestTask, heldEpoch: number) {
  if (heldEpoch < epoch) return { outcome: 'adopted' } as const;
  return isSuperseded ? ({ outcome: 'superseded' } as const) : undefined;
}

function referenceOf(bytes: Buffer) {
  return { bytes: bytes.length, sha256: createHash('sha256').update(bytes).digest('hex') };
}
