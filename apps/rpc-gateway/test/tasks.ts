import { once } from 'node:events';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { buffer } from 'node:stream/consumers';
import AdmZip from 'adm-zip';
import { callerHeader, readCaller, type TaskReport } from '@inference-server/contracts';
import type { PrivateApi } from './private-api.js';

/** What a model makes of its input: files of its output, or the end of a task that failed. */
export type Outcome = Record<string, string | Uint8Array> | { failed: Partial<TaskReport> };
export type Files = Record<string, Buffer>;

export interface Tasks {
  posts: { uid: string; key: string; model: string; owner: string | undefined; files: Files }[];
  /** Uids, by their cancels. */
  cancels: string[];
  /** So many posts are taken, and their answers lost. */
  losesAnswers: number;
  /** How a request is answered in place of all else. */
  instead: ((request: IncomingMessage, response: ServerResponse) => boolean) | undefined;
}

/** The routes of tasks, as their contracts have them, for models that `run` is. */
export function playTasks(
  api: PrivateApi,
  run: (files: Files, signal: AbortSignal) => Promise<Outcome>,
): Tasks {
  const tasks: Tasks = { posts: [], cancels: [], losesAnswers: 0, instead: undefined };
  const ends = new Map<string, Promise<Outcome>>();
  const cancelling = new Map<string, AbortController>();

  async function post(url: URL, request: IncomingMessage, response: ServerResponse) {
    const zip = await buffer(request);
    const key = String(request.headers['idempotency-key']);
    let post = tasks.posts.find((earlier) => earlier.key === key);
    if (post === undefined) {
      const files = filesIn(zip);
      const owner = readCaller(String(request.headers[callerHeader]))?.owner;
      const uid = `task-${tasks.posts.length}`;
      post = { uid, key, model: url.searchParams.get('human_readable_id') ?? '', owner, files };
      tasks.posts.push(post);
      const cancel = new AbortController();
      cancelling.set(uid, cancel);
      ends.set(uid, run(files, cancel.signal));
    }
    if (tasks.losesAnswers > 0) {
      tasks.losesAnswers -= 1;
      request.socket.destroy();
    } else response.end(JSON.stringify(post.uid));
  }

  async function output(uid: string, response: ServerResponse) {
    const gone = once(response, 'close').then(() => undefined);
    const outcome = await Promise.race([gone, ends.get(uid)]);
    if (outcome === undefined) return;
    if (isFailure(outcome)) {
      const task = { state: 'FAILED', attempt: 1, attempts: [], ...outcome.failed };
      problem(response, 552, 'TASK_FAILED', 'The container ended with exit code 3.', { task });
      return;
    }
    const zip = new AdmZip();
    for (const [path, content] of Object.entries(outcome)) {
      zip.addFile(path, Buffer.from(content as string));
    }
    const bytes = zip.toBuffer();
    response.writeHead(200, { 'content-length': bytes.length }).end(bytes);
  }

  api.onTask = (request, response) => {
    if (tasks.instead?.(request, response) === true) return;
    const url = new URL(request.url ?? '', 'http://private-api');
    const [, uid = '', isCancel] = /^\/api\/tasks\/([^/]*)(\/cancel)?$/.exec(url.pathname) ?? [];
    if (uid === '') void post(url, request, response);
    else if (isCancel === undefined) void output(uid, response);
    else {
      tasks.cancels.push(uid);
      cancelling.get(uid)?.abort();
      response.end('{}');
    }
  };
  return tasks;
}

function isFailure(outcome: Outcome): outcome is { failed: Partial<TaskReport> } {
  return 'failed' in outcome;
}

export function problem(
  response: ServerResponse,
  status: number,
  code: string,
  detail: string,
  more: object = {},
): void {
  response.writeHead(status, { 'content-type': 'application/problem+json' });
  const said = { type: 'about:blank', title: code, status, detail, code };
  response.end(JSON.stringify({ ...said, ...more }));
}

function filesIn(zip: Buffer): Files {
  const entries = new AdmZip(zip).getEntries();
  return Object.fromEntries(entries.map((entry) => [entry.entryName, entry.getData()]));
}
