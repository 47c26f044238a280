import { appendFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { testFolder } from '@inference-server/testing';
import { linesSince } from '../src/world/log-since.js';

it('tells what logs have gained since, of the lines that have it in them', async () => {
  const folder = await testFolder();
  const log = (name: string) => join(folder, `${name}.log`);
  await writeFile(log('one'), 'ENOSPC long ago\n');
  const lines = await linesSince(folder, ['one', 'two'], /ENOSPC/);
  await writeFile(log('two'), '');
  expect(await lines()).toEqual([]);
  await appendFile(log('one'), 'a\nENOSPC now\n');
  await appendFile(log('two'), 'ENOSPC here too\n');
  expect(await lines()).toEqual(['ENOSPC now', 'ENOSPC here too']);
});
