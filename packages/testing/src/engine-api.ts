import { once } from 'node:events';
import { request, type IncomingMessage } from 'node:http';
import type { Readable } from 'node:stream';
import { createInterface } from 'node:readline';
import { pipeline } from 'node:stream/promises';
import { dockerAddress } from '@inference-server/local-services';
import { whenFileEnds } from './clean-up.js';

/** What lives in an engine beside images. */
export interface EngineObject {
  kind: 'container' | 'volume' | 'network';
  name: string;
  labels: Record<string, string>;
}

/** A start of a container, and its end: by the engine's clock, Infinity while it runs. */
export interface ContainerRun {
  id: string;
  labels: Record<string, string>;
  startedAtMs: number;
  endedAtMs: number;
  /** What the engine holds it to, as it said when the container was started; undefined: it was gone by then. */
  limits: Promise<{ cpus: number; cpusAtLeast: number; memoryBytes: number } | undefined>;
}

/** The engine's HTTP API, for looking at what a test has done to it. */
export interface EngineApi {
  /** Throws on a status of 400 and above. The answer is parsed when it is JSON. */
  call(method: string, path: string, body?: unknown): Promise<unknown>;
  /** Sends a tar; the answer is the engine's progress as text. */
  upload(method: string, path: string, tar: Readable): Promise<string>;
  /** How often containers with this label were started, by the last 256 events, which an engine keeps. */
  countStarts(label: string): Promise<number>;
  /** Counts the starts of containers from now on, by the value of a label, until the test file ends. */
  watchStarts(label: string): Promise<(value: string) => number>;
  /** The runs of containers with this label from now on, by the engine's events, until the test file ends. */
  watchRuns(label: string): Promise<() => ContainerRun[]>;
  /** Every container, volume and network that somebody has made. */
  listObjects(): Promise<EngineObject[]>;
}

export function createEngineApi(dockerHost: string): EngineApi {
  const address = dockerAddress(dockerHost);
  if (address === undefined) throw new Error(`DOCKER_HOST has a form that is not spoken here`);

  const open = (
    method: string,
    path: string,
    headers: Record<string, string>,
    timeoutMs: number | null = 60_000,
  ) =>
    request({
      ...address,
      method,
      path,
      headers,
      agent: false,
      ...(timeoutMs !== null && { signal: AbortSignal.timeout(timeoutMs) }),
    });

  const call = async (method: string, path: string, body?: unknown) => {
    const sent = open(
      method,
      path,
      body === undefined ? {} : { 'content-type': 'application/json' },
    );
    sent.end(body === undefined ? undefined : JSON.stringify(body));
    const text = await textOf(sent, `${method} ${path}`);
    return /^[[{]/.test(text) ? (JSON.parse(text) as unknown) : text;
  };

  /** Has events told as they come, until the test file ends. */
  const follow = async (filters: object, onEvent: (event: EngineEvent) => void): Promise<void> => {
    const query = new URLSearchParams({ filters: JSON.stringify(filters) }).toString();
    const sent = open('GET', `/events?${query}`, {}, null);
    sent.end();
    const [response] = (await once(sent, 'response')) as [IncomingMessage];
    const reading = (async () => {
      for await (const line of createInterface({ input: response })) {
        onEvent(JSON.parse(line) as EngineEvent);
      }
    })().catch(() => undefined);
    whenFileEnds('watch of an engine', async () => {
      sent.destroy();
      await reading;
    });
  };

  const limitsOf = async (id: string) => {
    const found = await call('GET', `/containers/${id}/json`).catch(() => undefined);
    if (found === undefined) return undefined;
    const { NanoCpus, CpuShares, Memory } = (found as RawLimits).HostConfig;
    return { cpus: NanoCpus / 1e9, cpusAtLeast: CpuShares / 1024, memoryBytes: Memory };
  };

  return {
    call,
    async upload(method, path, tar) {
      const sent = open(method, path, { 'content-type': 'application/x-tar' });
      const [text] = await Promise.all([textOf(sent, `${method} ${path}`), pipeline(tar, sent)]);
      return text;
    },
    async countStarts(label) {
      const query = new URLSearchParams({
        since: '0',
        until: String(Math.ceil(Date.now() / 1000)),
        filters: JSON.stringify({ type: ['container'], event: ['start'], label: [label] }),
      });
      const sent = open('GET', `/events?${query.toString()}`, {});
      sent.end();
      const text = await textOf(sent, 'GET /events');
      return text.split('\n').filter((line) => line !== '').length;
    },
    async watchStarts(label) {
      const starts = new Map<string, number>();
      await follow({ type: ['container'], event: ['start'], label: [label] }, ({ Actor }) => {
        const value = Actor.Attributes[label] ?? '';
        starts.set(value, (starts.get(value) ?? 0) + 1);
      });
      return (value) => starts.get(value) ?? 0;
    },
    async watchRuns(label) {
      const runs = new Map<string, ContainerRun>();
      await follow({ type: ['container'], event: ['start', 'die'], label: [label] }, (event) => {
        const { ID: id, Attributes: labels } = event.Actor;
        const atMs = event.timeNano / 1e6;
        // Of a short run the end may be told first.
        const run = runs.get(id) ?? {
          ...{ id, labels, startedAtMs: atMs, endedAtMs: Infinity },
          limits: limitsOf(id),
        };
        const at = event.Action === 'start' ? { startedAtMs: atMs } : { endedAtMs: atMs };
        runs.set(id, { ...run, ...at });
      });
      return () => [...runs.values()];
    },
    async listObjects() {
      const containers = (await call('GET', '/containers/json?all=1')) as RawContainer[];
      const { Volumes } = (await call('GET', '/volumes')) as { Volumes: RawObject[] | null };
      const networks = (await call('GET', '/networks')) as RawObject[];
      const named = (kind: 'volume' | 'network') => (object: RawObject) => ({
        kind,
        name: object.Name,
        labels: object.Labels ?? {},
      });
      return [
        ...containers.map(({ Names, Labels }) => ({
          kind: 'container' as const,
          name: (Names[0] ?? '').slice(1),
          labels: Labels,
        })),
        ...(Volumes ?? []).map(named('volume')),
        ...networks.filter(({ Name }) => !builtIn.includes(Name)).map(named('network')),
      ];
    },
  };
}

const builtIn = ['bridge', 'host', 'none'];

interface EngineEvent {
  Action: string;
  Actor: { ID: string; Attributes: Record<string, string> };
  timeNano: number;
}

interface RawContainer {
  Names: string[];
  Labels: Record<string, string>;
}

interface RawLimits {
  HostConfig: { NanoCpus: number; CpuShares: number; Memory: number };
}

interface RawObject {
  Name: string;
  Labels: Record<string, string> | null;
}

async function textOf(sent: ReturnType<typeof request>, what: string): Promise<string> {
  const [response] = (await once(sent, 'response')) as [IncomingMessage];
  let text = '';
  for await (const chunk of response) text += String(chunk);
  const { statusCode = 0 } = response;
  if (statusCode >= 400) throw new Error(`${what}: ${statusCode} ${text.trim()}`);
  return text.trim();
}
