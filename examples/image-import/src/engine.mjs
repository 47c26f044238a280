import http from 'node:http';
import { pipeline } from 'node:stream/promises';

/**
 * The few calls of the engine's HTTP API that making an image takes: no command of the engine is
 * needed, only its address in the form of DOCKER_HOST (unix:///path or tcp://host:port). A call
 * that makes no progress for `silenceMs` fails.
 *
 * @param {{ dockerHost: string, signal: AbortSignal, silenceMs?: number }} options
 */
export function connectEngine({ dockerHost, signal, silenceMs = 120_000 }) {
  const address = addressOf(dockerHost);
  const send = (method, path, body) => request({ address, method, path, body, signal, silenceMs });

  return {
    /** The labels of an image, or undefined when the engine has no image of that name. */
    async findImage(tag) {
      const { status, text } = await send('GET', `/images/${tag}/json`);
      if (status === 404) return undefined;
      const { Id, Config } = JSON.parse(expectOk(status, text));
      return { id: Id, labels: Config?.Labels ?? {} };
    },

    /**
     * Makes an image of a tar of its file system. `changes` are lines of a Dockerfile.
     * @param {import('node:stream').Readable} tar
     */
    async importImage(tar, { tag, changes }) {
      const [repo, version] = tag.split(':');
      const query = new URLSearchParams({ fromSrc: '-', repo, tag: version });
      for (const change of changes) query.append('changes', change);
      const { status, text } = await send('POST', `/images/create?${query}`, tar);
      // An import that fails half-way has answered 200 by then and says so in its last line.
      const failure = /"error":\s*"((?:[^"\\]|\\.)*)"/.exec(expectOk(status, text));
      if (failure !== null) throw new Error(`The engine refused the image: ${failure[1]}`);
    },

    /** Removes an image that no tag names any more, unless a container still uses it. */
    async removeImage(id) {
      const { status, text } = await send('DELETE', `/images/${id}`);
      if (status !== 404 && status !== 409) expectOk(status, text);
    },
  };
}

function addressOf(dockerHost) {
  const url = new URL(dockerHost);
  if (url.protocol === 'unix:') return { socketPath: url.pathname };
  if (url.protocol === 'tcp:' || url.protocol === 'http:') {
    return { host: url.hostname, port: url.port || '2375' };
  }
  throw new Error(`DOCKER_HOST ${dockerHost} is neither unix:// nor tcp://`);
}

function expectOk(status, text) {
  if (status >= 200 && status < 300) return text;
  throw new Error(`The engine answered ${status}: ${text.trim()}`);
}

async function request({ address, method, path, body, signal, silenceMs }) {
  const call = http.request({ ...address, method, path, signal, agent: false });
  call.setTimeout(silenceMs, () => {
    call.destroy(new Error(`The engine was silent for ${silenceMs} ms`));
  });
  const answered = new Promise((resolve, reject) => {
    call.on('response', resolve);
    call.on('error', reject);
  });
  if (body === undefined) call.end();
  else {
    call.setHeader('content-type', 'application/x-tar');
    // A body that fails destroys the call, which then reports the error itself.
    pipeline(body, call).catch(() => undefined);
  }
  const response = await answered;
  let text = '';
  for await (const chunk of response.setEncoding('utf8')) text += chunk;
  return { status: response.statusCode, text };
}
