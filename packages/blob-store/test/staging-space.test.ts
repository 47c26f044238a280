import { execFile } from 'node:child_process';
import { mkdir, readdir, statfs, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';
import { testFolder, waitUntil } from '@inference-server/testing';
import { createStagingSpace, discardFile, receiveFile } from '../src/index.js';
import type { SpaceReservation } from '../src/staging-space.js';

const mib = 1024 ** 2;
const signal = new AbortController().signal;
const full = { code: 'STORAGE_FULL', retryAfterS: 60 };

/** A folder on a file system of its own. */
async function smallDisk(sizeMib: number): Promise<string> {
  const folder = join(await testFolder(), 'small');
  await mkdir(folder);
  const options = ['-t', 'tmpfs', '-o', `size=${sizeMib}m`, 'tmpfs', folder];
  await promisify(execFile)('mount', options);
  return folder;
}

function receive(folder: string, bytes: number, space: SpaceReservation) {
  const chunks = Array.from({ length: bytes / 65_536 }, () => Buffer.alloc(65_536));
  const source = Readable.from(chunks, { objectMode: false });
  return receiveFile(source, { folder, maxBytes: 1024 * mib, signal, space });
}

// File systems of some mebibytes have to be mounted.
describe.runIf(process.getuid?.() === 0)('the space for uploads', () => {
  it('is set apart for a declared length at once, and given back', async () => {
    const space = createStagingSpace({ folder: await smallDisk(64), minFreeBytes: 16 * mib });
    await expect(space.reserve(49 * mib)).rejects.toMatchObject(full);
    const first = await space.reserve(40 * mib);
    await expect(space.reserve(9 * mib)).rejects.toMatchObject(full);
    const second = await space.reserve(8 * mib);
    first.release();
    first.release();
    const third = await space.reserve(40 * mib);
    second.release();
    third.release();
  });

  it('has a reserve that some uploads may use', async () => {
    const space = createStagingSpace({ folder: await smallDisk(64), minFreeBytes: 16 * mib });
    const usual = await space.reserve(48 * mib);
    await expect(space.reserve(mib)).rejects.toMatchObject(full);
    const other = await space.reserve(14 * mib, 2 * mib);
    await expect(space.reserve(mib, 2 * mib)).rejects.toMatchObject(full);
    usual.release();
    await expect(space.reserve(48 * mib)).rejects.toMatchObject(full);
    other.release();
  });

  it('is not promised twice to uploads that begin at the same time', async () => {
    const space = createStagingSpace({ folder: await smallDisk(64), minFreeBytes: 0 });
    const begun = await Promise.allSettled([1, 2, 3, 4].map(() => space.reserve(24 * mib)));
    expect(begun.filter(({ status }) => status === 'fulfilled')).toHaveLength(2);
  });

  it('counts what was written once, whether it was measured since or not', async () => {
    const folder = await smallDisk(64);
    const space = createStagingSpace({ folder, minFreeBytes: 0 });
    const first = await space.reserve(32 * mib);
    const file = await receive(folder, 32 * mib, first);
    first.release();
    await expect(space.reserve(33 * mib)).rejects.toMatchObject(full);
    const fits = async () => {
      const second = await space.reserve(31 * mib);
      second.release();
      return true;
    };
    await fits();
    await discardFile(file);
    // The measurement is a second old at most.
    const free = () =>
      space.reserve(60 * mib).then(
        (all) => (all.release(), true),
        () => false,
      );
    expect(await waitUntil(free, { timeoutMs: 5_000 })).toBe(true);
  });

  it('does not stay with an upload that has declared much and sends little', async () => {
    const folder = await smallDisk(64);
    const slow = { afterMs: 100, bytesPerS: mib };
    const space = createStagingSpace({ folder, minFreeBytes: 0, slow });
    const idle = await space.reserve(60 * mib);
    await expect(space.reserve(40 * mib)).rejects.toMatchObject(full);
    const other = async () => (await space.reserve(40 * mib).catch(() => undefined)) !== undefined;
    expect(await waitUntil(other, { timeoutMs: 5_000 })).toBe(true);
    // It goes on within what is left, and no further.
    await idle.cover(16 * mib);
    await expect(idle.cover(60 * mib)).rejects.toMatchObject(full);
  });

  it('grows with an upload of unknown length, which ends before the disk is full', async () => {
    const folder = await smallDisk(64);
    const space = createStagingSpace({ folder, minFreeBytes: 16 * mib });
    const unknown = await space.reserve();
    await expect(receive(folder, 60 * mib, unknown)).rejects.toMatchObject(full);
    unknown.release();
    expect(await readdir(folder)).toEqual([]);
    const whole = await space.reserve();
    const file = await receive(folder, 40 * mib, whole);
    const { bavail, bsize } = await statfs(folder);
    expect(bavail * bsize).toBeGreaterThanOrEqual(16 * mib);
    whole.release();
    await discardFile(file);
  });

  it('keeps an upload of unknown length off what others have declared', async () => {
    const folder = await smallDisk(64);
    const space = createStagingSpace({ folder, minFreeBytes: 0 });
    const declared = await space.reserve(40 * mib);
    const unknown = await space.reserve();
    await expect(receive(folder, 32 * mib, unknown)).rejects.toMatchObject(full);
    unknown.release();
    await discardFile(await receive(folder, 40 * mib, declared));
    declared.release();
  });

  it('sees what others write on the disk', async () => {
    const folder = await smallDisk(64);
    const space = createStagingSpace({ folder, minFreeBytes: 0 });
    (await space.reserve(50 * mib)).release();
    await writeFile(join(folder, 'of another'), Buffer.alloc(32 * mib));
    const refused = () =>
      space.reserve(50 * mib).then(
        (taken) => (taken.release(), false),
        () => true,
      );
    expect(await waitUntil(refused, { timeoutMs: 5_000 })).toBe(true);
    await truncate(join(folder, 'of another'), 0);
  });

  it('cannot be measured where there is no folder', async () => {
    const space = createStagingSpace({ folder: '/nonexistent', minFreeBytes: 0 });
    await expect(space.reserve(1)).rejects.toMatchObject({ code: 'SERVICE_UNAVAILABLE' });
    await expect(space.reserve(1)).rejects.toMatchObject({ code: 'SERVICE_UNAVAILABLE' });
  });
});
