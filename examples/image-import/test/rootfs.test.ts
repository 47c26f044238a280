import { createHash } from 'node:crypto';
import { symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { buffer, text } from 'node:stream/consumers';
import { extract } from 'tar-stream';
import { describe, expect, it } from 'vitest';
import { testFolder } from '@inference-server/testing';
import { directory, file, hashEntries, link, localFile, tarOf } from '../src/rootfs.mjs';

describe('the tar of a file system', () => {
  it('holds folders, files, local files and links', async () => {
    const folder = await testFolder();
    await writeFile(join(folder, 'tool'), 'binary');
    await symlink('tool', join(folder, 'alias'));
    const tar = tarOf([
      directory('tmp', 0o1777),
      file('etc/passwd', 'root'),
      localFile('bin/tool', join(folder, 'alias'), 0o755),
      link('bin/t', 'tool'),
    ]);
    const entries = [];
    for await (const entry of tar.pipe(extract())) {
      const { name, type, mode, uid, linkname, mtime } = entry.header;
      entries.push([name, type, mode, linkname, await text(entry)]);
      expect({ uid, mtime }).toEqual({ uid: 0, mtime: new Date(0) });
    }
    expect(entries).toEqual([
      ['tmp', 'directory', 0o1777, null, ''],
      ['etc/passwd', 'file', 0o644, null, 'root'],
      ['bin/tool', 'file', 0o755, null, 'binary'],
      ['bin/t', 'symlink', 0o777, 'tool', ''],
    ]);
  });

  it('fails when a local file cannot be read', async () => {
    const tar = tarOf([localFile('a', '/does/not/exist')]);
    await expect(buffer(tar)).rejects.toThrow(/ENOENT/);
  });
});

describe('the digest of a file system', () => {
  const digest = async (...entries: Parameters<typeof hashEntries>[1]) => {
    const hash = createHash('sha256');
    await hashEntries(hash, entries);
    return hash.digest('hex');
  };

  it('is the same for the same files', async () => {
    const entries = [directory('a'), file('a/b', 'c'), link('d', 'a')];
    expect(await digest(...entries)).toBe(await digest(...entries));
  });

  it('tells content, name, mode and target apart', async () => {
    const digests = await Promise.all([
      digest(file('a', 'b')),
      digest(file('a', 'c')),
      digest(file('b', 'b')),
      digest(file('a', 'b', 0o755)),
      digest(link('a', 'b')),
      digest(link('a', 'c')),
      digest(file('a', 'b'), file('a', '')),
      digest(localFile('a', '/etc/hostname')),
    ]);
    expect(new Set(digests).size).toBe(digests.length);
  });
});
