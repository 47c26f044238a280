import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { expect, inject, it } from 'vitest';

it('loses its lines where nothing can be written, and ends no process', async () => {
  const full = await open('/dev/full', 'w');
  const kit = join(inject('repository'), 'packages', 'service-kit', 'dist', 'index.js');
  const script = `
    import { createLogger } from ${JSON.stringify(kit)};
    import { setTimeout as sleep } from 'node:timers/promises';
    const logger = createLogger('test', 'info');
    for (let line = 0; line < 3; line += 1) {
      logger.info('a line');
      await sleep(20);
    }
    process.stderr.write('goes on');
  `;
  try {
    const child = spawn(process.execPath, ['--input-type=module', '-e', script], {
      stdio: ['ignore', full.fd, 'pipe'],
      timeout: 20_000,
    });
    const [said, [code]] = await Promise.all([text(child.stderr!), once(child, 'exit')]);
    expect(said).toBe('goes on');
    expect(code).toBe(0);
  } finally {
    await full.close();
  }
});
