import { readFile } from 'node:fs/promises';
import { expect } from 'vitest';
import {
  buildFromFiles,
  directory,
  file,
  nodeRootfs,
} from '@inference-server/example-image-import';
import type { ModelContract, ReplicaDetails } from '@inference-server/contracts';
import type { ModelRegistration } from '@inference-server/sdk';
import { waitUntil } from '@inference-server/testing';
import type { RunningServer } from '../running-server.js';

/** What the model of {@link warmModels} is told to do. */
export interface Order {
  sleep_ms?: number;
  /** Its process ends with this exit code, in the middle of the call. */
  exit?: number;
  /** It answers with this gRPC code. */
  code?: number;
}

const contract: ModelContract = {
  signature_name: 'predict',
  inputs: [{ name: 'x', dtype: 'DT_STRING', shape: [] }],
  outputs: [{ name: 'x', dtype: 'DT_STRING', shape: [] }],
};

/** Models that do what each call says, and questions about their replicas. */
export function warmModels(server: RunningServer) {
  let calls = 0;
  const registered = new Set<string>();

  const replicasOf = async (id: string): Promise<ReplicaDetails[]> => {
    const answer = await fetch(`${server.privateApiUrl}/api/models/${id}/replicas`, {
      headers: { authorization: `Bearer ${server.token}` },
      signal: AbortSignal.timeout(10_000),
    });
    expect(answer.status).toBe(200);
    return (await answer.json()) as ReplicaDetails[];
  };

  /** One call over HTTP: the words of its answer, or the problem that it was answered with. */
  const ask = async (id: string, order: Order = {}, timeoutMs = 60_000): Promise<Answer> => {
    calls += 1;
    const name = `call-${calls}`;
    const began = performance.now();
    const answer = await fetch(`${server.publicApiUrl}/api/models/${id}/predict`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ x: JSON.stringify({ id: name, ...order }) }),
      signal: AbortSignal.timeout(timeoutMs),
    });
    const told = (await answer.json()) as { x?: string; code?: string; detail?: string };
    const [echoed, version, replica] = (told.x ?? '').split(' ');
    return {
      status: answer.status,
      isRight: answer.status === 200 && echoed === name,
      ...{ version, replica, code: told.code, detail: told.detail },
      ms: performance.now() - began,
    };
  };

  return {
    ask,
    replicasOf,

    /** Registers it at the private API, where nothing has to be allowed; puts a next version over one. */
    async put(
      id: string,
      more: Partial<ModelRegistration> = {},
      environment: Record<string, string> = {},
    ): Promise<void> {
      registered.add(id);
      const tag = await obedientImage(server.engine.dockerHost, environment);
      await server.client.putModel({
        ...{ human_readable_id: id, container_tag: tag, kind: 'runtime', memory_mib: 128 },
        contract,
        ...more,
      });
    },

    /** Waits until the replicas that are there are in these states. */
    async until(id: string, states: readonly string[], timeoutMs = 40_000): Promise<void> {
      let seen: string[] = [];
      const inTime = await waitUntil(
        async () => {
          const there = (await replicasOf(id)).filter(({ state }) => state !== 'ENDED');
          seen = there.map(({ state }) => state).toSorted();
          return JSON.stringify(seen) === JSON.stringify(states.toSorted());
        },
        { timeoutMs },
      );
      expect(inTime ? states : seen).toEqual(states);
    },

    /** Waits until so many have ended, and answers these. A gateway that was killed is waited for for 60 s. */
    async untilEnded(id: string, count: number): Promise<ReplicaDetails[]> {
      let ended: ReplicaDetails[] = [];
      const have = async () => {
        ended = (await replicasOf(id)).filter(({ state }) => state === 'ENDED');
        return ended.length >= count;
      };
      expect(await waitUntil(have, { timeoutMs: 100_000 })).toBe(true);
      return ended;
    },

    /** Deletes the models, and waits until nothing of theirs is in the engine: consumers sweep it. */
    async removeAll(): Promise<void> {
      for (const id of registered) await server.client.deleteModel(id);
      const isClean = async () => (await server.inEngine()).length === 0;
      const inTime = await waitUntil(isClean, { timeoutMs: 60_000, everyMs: 250 });
      expect(inTime ? [] : await server.inEngine()).toEqual([]);
    },

    /** So many callers, each asking again and again, until `stop`: who tells what became of all calls. */
    load(id: string, callers: number, order: Order = {}) {
      const answers: Answer[] = [];
      let going = true;
      const running = Promise.all(
        Array.from({ length: callers }, async () => {
          while (going) {
            answers.push({ ...(await ask(id, order)), at: performance.now() } as Answer);
          }
        }),
      );
      return {
        answers,
        async stop(): Promise<Answer[]> {
          going = false;
          await running;
          return answers;
        },
        /** Waits for the next right answer of a call that begins now; how long that took (ms). */
        async recovered(): Promise<number> {
          const began = performance.now();
          for (;;) {
            if ((await ask(id, order)).isRight) return performance.now() - began;
            if (performance.now() - began > 60_000) throw new Error('It does not recover.');
          }
        },
      };
    },
  };
}

export interface Answer {
  status: number;
  isRight: boolean;
  version: string | undefined;
  /** The host name of the container that answered. */
  replica: string | undefined;
  code: string | undefined;
  detail: string | undefined;
  ms: number;
}

/** No answer is wrong, and every other one is an error that can be asked again, or says what failed. */
export function expectNoWrongAnswer(answers: readonly Answer[], codes: readonly string[]): void {
  const others = answers.filter(({ isRight }) => !isRight);
  const unexpected = others.filter(({ code }) => !codes.includes(code ?? 'a wrong answer'));
  expect(unexpected.slice(0, 5)).toEqual([]);
  for (const { detail } of others) expect(detail).toMatch(/\w+ \w+/);
}

async function obedientImage(
  dockerHost: string,
  environment: Record<string, string>,
): Promise<string> {
  const signal = AbortSignal.timeout(120_000);
  const source = new URL('obedient-runtime.mjs', import.meta.url);
  const name = Object.entries(environment).flat().join('-').toLowerCase() || 'plain';
  return await buildFromFiles({
    tag: `inference-server-test/obedient:${name}`,
    entries: [
      ...(await nodeRootfs({ signal })),
      directory('app'),
      file('app/runtime.mjs', await readFile(source)),
    ],
    changes: [
      'CMD ["node", "/app/runtime.mjs"]',
      'USER 1000',
      'ENV PATH=/usr/bin',
      ...Object.entries(environment).map(([key, value]) => `ENV ${key}=${value}`),
    ],
    dockerHost,
    signal,
  });
}
