import { mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { inject } from 'vitest';
import { endLeftovers, unmountAll } from '@inference-server/local-services';
import { whenFileEnds } from './clean-up.js';

/** A new folder, removed (with processes and mounts of ours in it) when the file ends. */
export async function testFolder(): Promise<string> {
  const folder = await mkdtemp(join(inject('runFolder'), 'f-'));
  whenFileEnds('test folder', async () => {
    const ended = await endLeftovers(folder);
    await unmountAll([folder], inject('environment'));
    await rm(folder, { recursive: true, force: true });
    if (ended.length > 0) {
      throw new Error(`Left running: ${ended.map(({ name }) => name).join(', ')}`);
    }
  });
  return folder;
}
