// The gate and nothing else: POST ?path=… checks a zip and tells how long it took (ms).
import { createServer } from 'node:http';
import { createZipGate, defaultZipLimits } from '@inference-server/archive';

const { PORT: port } = process.env;
const gate = createZipGate({ threads: 1 });

const server = createServer((request, response) => {
  const path = new URL(request.url ?? '/', 'http://localhost').searchParams.get('path');
  if (path === null) {
    response.end();
    return;
  }
  const began = performance.now();
  gate.check(path, { ...defaultZipLimits, requireFile: true }, new AbortController().signal).then(
    (verdict) => response.end(JSON.stringify({ ms: performance.now() - began, verdict })),
    () => response.destroy(),
  );
});
server.requestTimeout = 0;
server.listen(Number(port), '127.0.0.1');
for (const name of ['SIGTERM', 'disconnect'] as const) process.on(name, () => process.exit(0));
