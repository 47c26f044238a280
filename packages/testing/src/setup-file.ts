import { afterAll } from 'vitest';
import { releaseAll } from './clean-up.js';
import { childrenOf, expectNoOpenHandles, openHandles } from './leaks.js';

/**
 * Runs in every test file before its own code: afterAll hooks run last-registered first, so this one
 * sees what the file's own clean-up has left.
 */
const childrenBefore = await childrenOf(process.pid);
const handlesBefore = openHandles();

afterAll(async () => {
  await releaseAll();
  await expectNoOpenHandles({ childrenBefore, handlesBefore });
}, 60_000);
