import { execFile } from 'node:child_process';
import { writeFile, mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expect, it } from 'vitest';
import { testFolder } from '@inference-server/testing';
import { freeBytes, fullDisk, isFull } from '../src/world/full-disk.js';

it('takes every byte, also what others have freed, and gives all of it back', async () => {
  const small = join(await testFolder(), 'small');
  await mkdir(small);
  await promisify(execFile)('mount', ['-t', 'tmpfs', '-o', 'size=16m', 'tmpfs', small]);
  const other = join(small, 'other');
  await writeFile(other, Buffer.alloc(1024 ** 2));
  const before = await freeBytes(small);

  const disk = fullDisk(small);
  expect(await disk.takeAll()).toBe(before);
  expect(await freeBytes(small)).toBe(0);
  await expect(writeFile(join(small, 'more'), 'x')).rejects.toThrow('ENOSPC');
  expect(await isFull(small)).toBe(true);

  await rm(other);
  expect(await disk.takeAll()).toBe(1024 ** 2);
  expect(await freeBytes(small)).toBe(0);

  await disk.free();
  await disk.free();
  await rm(join(small, 'more'));
  expect(await isFull(small)).toBe(false);
  expect(await freeBytes(small)).toBe(before + 1024 ** 2);
});
