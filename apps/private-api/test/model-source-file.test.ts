import { execFile } from 'node:child_process';
import { mkdir, rename, symlink, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { promisify } from 'node:util';
import { expect, it } from 'vitest';
import { openFilesBelow, testFolder } from '@inference-server/testing';
import { createFileSource } from '../src/modules/models/sources/file-source.js';
import { createModelSources } from '../src/modules/models/sources/model-sources.js';
import { describeModelSource, refusalOf } from './model-source-conformance.js';
import { unset } from './source-settings.js';

describeModelSource('file:', async () => {
  const [folder, outside] = [await testFolder(), await testFolder()];
  await writeFile(join(outside, 'secret.zip'), 'x');
  await symlink(outside, join(folder, 'link'));
  await symlink(join(outside, 'secret.zip'), join(folder, 'link.zip'));
  await symlink(join(outside, 'absent.zip'), join(folder, 'dangling.zip'));
  await symlink('loop.zip', join(folder, 'loop.zip'));
  await mkdir(join(folder, 'folder.zip'));
  await promisify(execFile)('mkfifo', [join(folder, 'pipe.zip')]);
  await mkdir(`${folder}-beside`);
  await writeFile(`${folder}-beside/a.zip`, 'x');
  return {
    source: createModelSources({ ...unset, MODEL_SOURCE_DIR: folder }),
    async put(name, bytes) {
      const path = join(folder, name);
      await mkdir(dirname(path), { recursive: true });
      await writeFile(path, bytes);
      return pathToFileURL(path).href;
    },
    absentUrl: pathToFileURL(join(folder, 'absent.zip')).href,
    refusedUrls: [
      ['outside', pathToFileURL(join(outside, 'secret.zip')).href],
      ['beside', pathToFileURL(`${folder}-beside/a.zip`).href],
      ['the folder itself', pathToFileURL(folder).href],
      ['above', 'file:../a.zip'],
      ['above, encoded', 'file:%2e%2e/a.zip'],
      ['above, encoded with its slash', 'file:..%2fa.zip'],
      ['a link to a folder outside', 'file:link/secret.zip'],
      ['a link to a file outside', 'file:link.zip'],
      ['a link to nothing', 'file:dangling.zip'],
      ['a link to itself', 'file:loop.zip'],
      ['a folder', 'file:folder.zip'],
      ['a pipe', 'file:pipe.zip'],
      ['a part of a file', 'file:a.zip#part'],
      ['a query', 'file:a.zip?x'],
      ['a host', 'file://host/a.zip'],
      ['a NUL', 'file:a%00.zip'],
      ['a name that is too long', `file:${'x'.repeat(300)}`],
      ['of no known scheme', 'ftp://host/a.zip'],
      ['of no scheme', '/etc/passwd'],
    ],
    secrets: [folder, outside],
    close: () => Promise.resolve(),
  };
});

it('names files by their path in the folder, too, and by links that stay in it', async () => {
  const folder = await testFolder();
  await mkdir(join(folder, 'deep'));
  await writeFile(join(folder, 'deep', 'a b.zip'), 'bytes');
  await symlink('deep', join(folder, 'link'));
  const source = createFileSource(folder);
  for (const url of ['file:deep/a b.zip', 'file:deep/a%20b.zip', 'file:link/a b.zip']) {
    const { bytes, stream } = await source.open(url, new AbortController().signal);
    expect([url, bytes]).toEqual([url, 5]);
    stream.destroy();
  }
  await expect.poll(() => openFilesBelow(folder)).toEqual([]);
});

it('gives what is in a folder that is itself behind a link', async () => {
  const folder = await testFolder();
  await mkdir(join(folder, 'real'));
  await writeFile(join(folder, 'real', 'a.zip'), 'bytes');
  await symlink('real', join(folder, 'models'));
  const { stream } = await createFileSource(join(folder, 'models')).open(
    'file:a.zip',
    new AbortController().signal,
  );
  stream.destroy();
});

it('gives nothing of outside, however fast a folder and a link take turns', async () => {
  const [folder, outside] = [await testFolder(), await testFolder()];
  for (const [at, text] of [
    [folder, 'inside'],
    [outside, 'outside'],
  ] as const) {
    await mkdir(join(at, 'd'));
    await writeFile(join(at, 'd', 'a.zip'), text);
  }
  await symlink(join(outside, 'd'), join(folder, 'other'));
  const source = createFileSource(folder);
  const over = new AbortController();
  const turning = (async () => {
    while (!over.signal.aborted) {
      await rename(join(folder, 'd'), join(folder, 'kept'));
      await rename(join(folder, 'other'), join(folder, 'd'));
      await rename(join(folder, 'd'), join(folder, 'other'));
      await rename(join(folder, 'kept'), join(folder, 'd'));
    }
  })();
  const seen = new Set<string>();
  for (let n = 0; n < 500; n += 1) {
    const opened = await source
      .open('file:d/a.zip', new AbortController().signal)
      .catch(() => undefined);
    if (opened === undefined) continue;
    for await (const chunk of opened.stream) seen.add(String(chunk));
  }
  over.abort();
  await turning;
  expect([...seen].filter((text) => text !== 'inside')).toEqual([]);
});

it('gives nothing where no folder is set', async () => {
  expect(await refusalOf(createModelSources(unset), 'file:a.zip')).toEqual([
    'VALIDATION_FAILED',
    'model_url is of a file, and MODEL_SOURCE_DIR is not set.',
  ]);
});
