import { readFileSync } from 'node:fs';
import { Readable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { pack } from 'tar-stream';
import { describe, expect, it, onTestFinished } from 'vitest';
import { encodeModelContract, parseContractJson } from '@inference-server/protos';
import { createEngineApi, testEngine, waitUntil } from '@inference-server/testing';
import { buildImage as buildEcho } from '../../echo/build-image.mjs';
import { buildImage as buildImageStats } from '../../image-stats/build-image.mjs';
import { buildImage as buildIris } from '../../iris/build-image.mjs';

/** Asks for Status within the container, and ends with the status of the call. */
const askStatus = `
  const session = require('node:http2').connect('http://127.0.0.1:9090');
  session.once('error', () => process.exit(99));
  const call = session.request({ ':method': 'POST', 'content-type': 'application/grpc',
    ':path': '/tensorflow.serving.PredictionService/Status', te: 'trailers' });
  call.once('error', () => process.exit(99));
  call.resume().once('trailers', (trailers) => process.exit(Number(trailers['grpc-status'])));
  call.end(Buffer.alloc(5));
`;
const builders = { iris: buildIris, echo: buildEcho, 'image-stats': buildImageStats };

describe('the images of the runtime examples', () => {
  it.each(['iris', 'echo', 'image-stats'] as const)(
    'serve Status, as user 1000: %s',
    async (name) => {
      const { dockerHost, installationId } = await testEngine();
      const image = await builders[name]({ dockerHost, signal: AbortSignal.timeout(60_000) });
      const engine = createEngineApi(dockerHost);
      const { Id: id } = (await engine.call('POST', '/containers/create', {
        Image: image,
        Labels: { 'inference-server.installation': installationId },
        HostConfig: { NetworkMode: 'none', CapDrop: ['ALL'], Init: true },
      })) as { Id: string };
      onTestFinished(async () => {
        await engine.call('DELETE', `/containers/${id}?force=true&v=true`);
      });
      await engine.upload('PUT', `/containers/${id}/archive?path=/`, Readable.from(modelTar(name)));
      await engine.call('POST', `/containers/${id}/start`);
      expect(await ask(engine, id)).toBe(0);

      await engine.call('POST', `/containers/${id}/stop?t=10`);
      const { State } = (await engine.call('GET', `/containers/${id}/json`)) as {
        State: { ExitCode: number };
      };
      expect(State.ExitCode).toBe(0);
    },
  );
});

function modelTar(name: keyof typeof builders) {
  const read = (file: string) => readFileSync(new URL(`../../${name}/${file}`, import.meta.url));
  const contract = parseContractJson(read('contract.json').toString('utf8'));
  const tar = pack();
  tar.entry({ name: './', type: 'directory' });
  tar.entry({ name: 'model/', type: 'directory' });
  tar.entry({ name: 'model/contract.protobin' }, encodeModelContract(contract, name));
  tar.entry({ name: 'model/files/', type: 'directory' });
  if (name === 'iris') {
    tar.entry({ name: 'model/files/weights.json' }, read('model/weights.json'));
  }
  tar.finalize();
  return tar;
}

/** The status that Status is answered with, once the port accepts. */
async function ask(engine: ReturnType<typeof createEngineApi>, id: string): Promise<number> {
  let status = 99;
  await waitUntil(
    async () => {
      const { Id: exec } = (await engine.call('POST', `/containers/${id}/exec`, {
        Cmd: ['node', '-e', askStatus],
      })) as { Id: string };
      await engine.call('POST', `/exec/${exec}/start`, { Detach: true });
      for (;;) {
        const state = (await engine.call('GET', `/exec/${exec}/json`)) as {
          Running: boolean;
          ExitCode: number | null;
        };
        if (!state.Running && state.ExitCode !== null) {
          status = state.ExitCode;
          return status !== 99;
        }
        await sleep(50);
      }
    },
    { timeoutMs: 20_000 },
  );
  return status;
}
