import { randomBytes } from 'node:crypto';
import { describe, expect, it, onTestFinished } from 'vitest';
import { testEngine, type TestEngine } from '@inference-server/testing';
import { buildFromFiles, connectEngine, contentLabel, file, localFile } from '../src/index.mjs';

describe('an image made of local files', () => {
  it('is made once, and again only when its content changes', async () => {
    const { engine, tag, image, build } = await newImage();
    expect(await build('one')).toBe(tag);
    const first = await image();
    expect(first.Config).toMatchObject({ Cmd: ['/run'], User: '1000' });
    expect(first.Config.Labels[contentLabel]).toMatch(/^[0-9a-f]{64}$/);

    await build('one');
    expect((await image()).Id).toBe(first.Id);

    await build('two');
    expect((await image()).Id).not.toBe(first.Id);
    // The replaced one does not stay behind without a name.
    await expect(engine.api.call('GET', `/images/${first.Id}/json`)).rejects.toThrow(/404/);
  });

  it('fails with the reason when a file is missing', async () => {
    const { engine, tag } = await newImage();
    await expect(
      buildFromFiles({ ...given(engine, tag), entries: [localFile('a', '/does/not/exist')] }),
    ).rejects.toThrow(/ENOENT/);
    expect(await connection(engine).findImage(tag)).toBeUndefined();
  });

  it('fails with the reason when the engine refuses it', async () => {
    const { engine, tag } = await newImage();
    await expect(
      buildFromFiles({ ...given(engine, tag), entries: [], changes: ['FROM nothing'] }),
    ).rejects.toThrow(/FROM is not a valid change command/i);
  });

  it('fails when no engine is there', async () => {
    const dockerHost = 'unix:///does/not/exist.sock';
    const signal = AbortSignal.timeout(5_000);
    await expect(connectEngine({ dockerHost, signal }).findImage('a:1')).rejects.toThrow(/ENOENT/);
    expect(() => connectEngine({ dockerHost: 'ssh://host', signal })).toThrow(/neither unix/);
  });
});

async function newImage() {
  const engine = await testEngine();
  const tag = `inference-server-test/import:${randomBytes(6).toString('hex')}`;
  onTestFinished(async () => {
    await connection(engine).removeImage(tag);
  });
  return {
    engine,
    tag,
    image: () => engine.api.call('GET', `/images/${tag}/json`) as Promise<RawImage>,
    build: (content: string) =>
      buildFromFiles({ ...given(engine, tag), entries: [file('run', content, 0o755)] }),
  };
}

interface RawImage {
  Id: string;
  Config: { Labels: Record<string, string> };
}

function given({ dockerHost }: TestEngine, tag: string) {
  const changes = ['CMD ["/run"]', 'USER 1000'];
  return { tag, changes, dockerHost, signal: AbortSignal.timeout(20_000) };
}

function connection({ dockerHost }: TestEngine) {
  return connectEngine({ dockerHost, signal: AbortSignal.timeout(20_000) });
}
