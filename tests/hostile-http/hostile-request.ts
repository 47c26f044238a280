import AdmZip from 'adm-zip';
import type { RawStep } from '@inference-server/testing';

/** The hop that is attacked. Both take the same requests, one of them with a token. */
export interface Target {
  /** The headers that a request needs, each with its CRLF. */
  headers: string;
  /** The same for a request of the job consumer `x` (private-api alone). */
  consumerHeaders: string;
}

/** One kind of hostile request and the one answer to it. */
export interface HostileRequest {
  name: string;
  steps: (target: Target) => RawStep[];
  /**
   * Status and code of each answer; none: the connection is closed without one. `last`: with
   * `Connection: close`.
   */
  answers: [status: number, code?: string | undefined, end?: 'last'][];
  /** It is a task, however odd. */
  stores?: true;
  /** Only against one of the two. */
  only?: 'public-api' | 'private-api';
}

/** The model that the tests run tasks of. */
export const model = 'script';

/** A request that would register a model if it were read as one. */
export function smuggled({ headers }: Target): string {
  return `POST /api/models/?container_tag=smuggled:1&human_readable_id=smuggled HTTP/1.1\r\n${headers}Content-Length: 0\r\n\r\n`;
}

/** A post of a task. `fields`: more headers, each with its CRLF. */
export function post({ headers }: Target, fields: string, body: string | Buffer = ''): Buffer {
  const line = `POST /api/tasks/?human_readable_id=${model} HTTP/1.1\r\n`;
  return Buffer.concat([
    Buffer.from(`${line}${headers}${fields}\r\n`, 'latin1'),
    typeof body === 'string' ? Buffer.from(body, 'latin1') : body,
  ]);
}

/** A GET of something that is always there. */
export function get({ headers }: Target, fields = '', path = '/healthz'): string {
  return `GET ${path} HTTP/1.1\r\n${headers}${fields}\r\n`;
}

export const bareZip = 'Content-Type: application/zip\r\n';

export const zip: Buffer = zipOf('echo done');

/** A task whose container runs `script`. `name`: of a second file in it, taken as it is. */
export function zipOf(script: string, name?: string): Buffer {
  const archive = new AdmZip();
  archive.addFile('run.sh', Buffer.from(script));
  if (name === undefined) return archive.toBuffer();
  // The library would tidy it up: a name as long takes its place.
  const placeholder = 'x'.repeat(name.length);
  archive.addFile(placeholder, Buffer.from(''));
  const bytes = archive.toBuffer().toString('latin1');
  return Buffer.from(bytes.replaceAll(placeholder, name), 'latin1');
}
