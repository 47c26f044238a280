import { execFile, spawn } from 'node:child_process';
import { promisify } from 'node:util';
import type { EngineApi } from '@inference-server/testing';
import { makeScriptImage } from './images.js';

/**
 * An image with a shell and this machine's node, whose command is the program that comes with the model,
 * /model/files/server.mjs; gone with the file.
 */
export async function makeRuntimeImage(api: EngineApi, base: string, tag: string): Promise<string> {
  const node = process.execPath;
  const { stdout } = await promisify(execFile)('ldd', [node], { timeout: 10_000 });
  const libraries = [...stdout.matchAll(/(\/\S+) \(0x/g)].map(([, path = '']) => path);
  const files = [node, ...libraries].map((path) => path.slice(1));
  // What links lead to stands in their place.
  const tar = spawn('tar', ['-C', '/', '--dereference', '--owner=0', '--group=0', '-c', ...files], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const ended = new Promise((resolve) => tar.once('exit', resolve));
  const command = JSON.stringify([node, '/model/files/server.mjs']);
  const image = await makeScriptImage(api, base, tag, [`CMD ${command}`], tar.stdout);
  await ended;
  return image;
}

/**
 * A runtime: answers Status as `STATUS` says, which is a number of the answer, or `none` for a runtime that has no such
 * call; all else with what is read from /model. `before` runs first, and may never end.
 */
export function runtimeServer({ status = 'none', before = '' } = {}): string {
  return `
    import { createServer } from 'node:http2';
    import { readFileSync } from 'node:fs';
    console.log('begins');
    ${before}
    const server = createServer();
    server.on('stream', (stream, headers) => {
      stream.on('error', () => undefined);
      const isStatus = headers[':path'] === '/tensorflow.serving.PredictionService/Status';
      const status = ${JSON.stringify(status)};
      const head = { ':status': 200, 'content-type': 'application/grpc' };
      if (!isStatus || status === 'none') {
        stream.respond({ ...head, 'grpc-status': '12' }, { endStream: true });
        return;
      }
      stream.respond(head, { waitForTrailers: true });
      stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0' }));
      stream.end(Buffer.from([0, 0, 0, 0, 2, 8, Number(status)]));
    });
    server.listen(Number(process.env.APP_PORT), '0.0.0.0');
    process.on('SIGTERM', () => process.exit(0));
  `;
}
