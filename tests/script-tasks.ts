import AdmZip from 'adm-zip';
import { expect } from 'vitest';
import { waitUntil, type EngineApi } from '@inference-server/testing';
import type { RunningServer } from './running-server.js';

const taskLabel = 'inference-server.task';

/** The model whose command is what the task brings, and questions about its tasks. */
export async function scriptTasks(server: RunningServer) {
  await server.postModel('script');
  const startsOf = await server.engine.api.watchStarts(taskLabel);

  const attemptsOf = async (uid: string) =>
    (await server.client.getTaskStatus(uid)).attempts.map(({ number, outcome, reason }) => ({
      number,
      outcome,
      reason,
    }));

  const containersOf = async (uid: string, engine: EngineApi = server.engine.api) => {
    const containers = await engine.call('GET', `/containers/json?${labelFilter(uid)}`);
    return (containers as unknown[]).length;
  };

  return {
    attemptsOf,

    /** Ends a script of {@link untilReleased}; not by a signal, which would tell of an end from outside. */
    async release(uid: string, engine: EngineApi = server.engine.api): Promise<void> {
      const [container] = (await engine.call('GET', `/containers/json?${labelFilter(uid)}`)) as {
        Id: string;
      }[];
      const { Id } = (await engine.call('POST', `/containers/${container?.Id}/exec`, {
        Cmd: ['touch', '/tmp/released'],
      })) as { Id: string };
      await engine.call('POST', `/exec/${Id}/start`, { Detach: true });
    },

    /** How many containers of the task run now. */
    containersOf,

    async post(script: string): Promise<string> {
      const zip = zipOfScript(script);
      return server.client.postTask({ human_readable_id: 'script', zip });
    },

    /** What the task wrote to /output/result; waits for it. */
    async resultOf(uid: string): Promise<string> {
      const signal = AbortSignal.timeout(50_000);
      const { zip } = await server.client.waitForTask(uid, { signal });
      return new AdmZip(Buffer.from(await new Response(zip).arrayBuffer())).readAsText('result');
    },

    async untilItRuns(uid: string, engine?: EngineApi): Promise<void> {
      const runs = async () => (await containersOf(uid, engine)) > 0;
      expect(await waitUntil(runs, { timeoutMs: 20_000 })).toBe(true);
    },

    /** In the server's engine, until that ends. */
    startsOf,

    /** Since the engine was started: it forgets its events with its end. */
    startsSinceItsStart: (uid: string, engine: EngineApi = server.engine.api) =>
      engine.countStarts(`${taskLabel}=${uid}`),

    async expectNothingLeft(): Promise<void> {
      let left: unknown[] = [];
      const clean = async () => {
        left = await server.inEngine();
        return left.length === 0;
      };
      expect((await waitUntil(clean, { timeoutMs: 10_000 })) ? [] : left).toEqual([]);
    },
  };
}

export type ScriptTasks = Awaited<ReturnType<typeof scriptTasks>>;

/** An input that is run as `sh /input/run.sh`. */
export function zipOfScript(script: string): Buffer {
  const zip = new AdmZip();
  zip.addFile('run.sh', Buffer.from(script));
  return zip.toBuffer();
}

/** Runs until it is released, and then `end`. */
export function untilReleased(end = 'echo fine > /output/result'): string {
  return `until [ -e /tmp/released ]; do sleep 0.1; done; ${end}`;
}

function labelFilter(uid: string): string {
  const filters = JSON.stringify({ label: [`inference-server.task=${uid}`] });
  return new URLSearchParams({ filters }).toString();
}
