import { messageOf } from '@inference-server/errors';
import { uncut } from '../uncut.js';
import type { AttemptRun } from './attempt-run.js';

/** Puts the end of the container's output into the log of the attempt; never fails the attempt. */
export async function readLog(run: AttemptRun, container: string): Promise<void> {
  const limits = { maxBytes: run.settings.logTailBytes, maxLines: maxLogLines };
  try {
    const { text, cut } = await run.engine.readLogs(container, limits, uncut);
    if (cut) run.log.note('the output of the container is longer: this is its end');
    run.log.setOutput(text);
  } catch (error) {
    run.log.note(`the output of the container could not be read: ${messageOf(error)}`);
  }
}

const maxLogLines = 10_000;
