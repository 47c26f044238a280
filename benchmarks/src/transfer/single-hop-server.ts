// The least that can take an upload safely: node's own server, the body to a file, flushed and
// renamed before the answer.
import { createWriteStream } from 'node:fs';
import { open, rename, rm } from 'node:fs/promises';
import { createServer, type IncomingMessage } from 'node:http';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';

const { FOLDER: folder = '', PORT: port } = process.env;
const path = join(folder, 'single-hop');

const server = createServer((request, response) => {
  if (request.method !== 'POST') {
    response.writeHead(405).end();
    return;
  }
  store(request).then(
    () => response.end('"stored"'),
    () => response.destroy(),
  );
  response.once('close', () => void rm(path, { force: true }));
});
server.requestTimeout = 0;
server.listen(Number(port), '127.0.0.1');
for (const name of ['SIGTERM', 'disconnect'] as const) process.on(name, () => process.exit(0));

async function store(request: IncomingMessage): Promise<void> {
  await pipeline(request, createWriteStream(`${path}.part`, { flush: true }));
  await rename(`${path}.part`, path);
  const directory = await open(folder);
  try {
    await directory.sync();
  } finally {
    await directory.close();
  }
}
