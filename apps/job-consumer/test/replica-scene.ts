import { connect } from 'node:http2';
import { once } from 'node:events';
import { expect } from 'vitest';
import type { ReplicaOrder } from '@inference-server/contracts';
import type { TestEngine } from '@inference-server/testing';
import { createNames } from '../src/names.js';
import { removeNetwork } from '../src/replicas/replica-network.js';
import { openConsumerScene } from './consumer-scene.js';
import { makeRuntimeImage, runtimeServer } from './runtime-image.js';
import { zipOf, type Tree } from './zips.js';

export type ReplicaScene = Awaited<ReturnType<typeof openReplicaScene>>;

/** Whole consumers that host replicas, and an image whose program comes with the model. */
export async function openReplicaScene(given?: TestEngine) {
  const scene = await openConsumerScene(given);
  const { own, engine, api } = scene;
  const runtime = await makeRuntimeImage(own.api, own.image, `runtime-test:${own.installationId}`);
  const signal = new AbortController().signal;
  const { replicas } = api;

  return {
    ...scene,
    runtime,
    replicas,
    order,
    namesOf,
    containerOf,
    untilSaid,
    untilReady,
    untilEnded,
    statusOf,
    removeAll,
  };

  /** Of a runtime with this program, on this consumer. */
  function order(
    consumer: string,
    program: Parameters<typeof runtimeServer>[0] & { tree?: Tree } = {},
    more: Partial<ReplicaOrder> = {},
  ): ReplicaOrder {
    const { tree = {}, ...of } = program;
    const files = zipOf({ 'server.mjs': runtimeServer(of), ...tree });
    return replicas.order(consumer, { container_tag: runtime, files, ...more });
  }

  function namesOf(consumer: string, id: string) {
    return createNames(own.installationId, consumer).replica(id);
  }

  function containerOf(consumer: string, { id }: ReplicaOrder) {
    return engine.inspectContainer(namesOf(consumer, id).name('replica'), signal);
  }

  async function untilSaid({ id }: ReplicaOrder, state: string, timeout = 15_000): Promise<void> {
    await expect.poll(() => replicas.said(id)?.state, { timeout, interval: 50 }).toBe(state);
  }

  async function untilReady(replica: ReplicaOrder): Promise<string> {
    await untilSaid(replica, 'ready');
    return replicas.said(replica.id)?.address ?? '';
  }

  async function untilEnded(replica: ReplicaOrder, timeout?: number) {
    await untilSaid(replica, 'ended', timeout);
    return replicas.said(replica.id)?.end;
  }

  /** The gRPC status of a call, as this machine gets it. */
  async function statusOf(address: string): Promise<string> {
    const session = connect(`http://${address}`);
    session.on('error', () => undefined);
    try {
      const stream = session.request({
        ':method': 'POST',
        ':path': '/tensorflow.serving.PredictionService/Predict',
        'content-type': 'application/grpc',
      });
      stream.end(Buffer.alloc(5));
      const [headers] = (await once(stream, 'response')) as [Record<string, string>];
      return headers['grpc-status'] ?? 'none';
    } finally {
      session.destroy();
    }
  }

  /** What a consumer has left running for its successor. */
  async function removeAll(): Promise<void> {
    replicas.orders.clear();
    const labels = createNames(own.installationId, 'any').installation;
    for (const { id } of await engine.listContainers(labels, signal)) {
      await engine.removeContainer(id, signal);
    }
    for (const { name } of await engine.listVolumes(labels, signal)) {
      await engine.removeVolume(name, signal);
    }
    for (const network of await engine.listNetworks(labels, signal)) {
      await removeNetwork(engine, network, signal);
    }
  }
}
