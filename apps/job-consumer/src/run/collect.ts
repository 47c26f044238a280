import { createHash } from 'node:crypto';
import { Transform } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { tarToZip } from '@inference-server/archive';
import { messageOf } from '@inference-server/errors';
import { crashPoint } from '@inference-server/service-kit';
import { retryPassing } from '../retry.js';
import type { AttemptRun } from './attempt-run.js';
import { outlastEngineOutage } from './engine-outage.js';
import { isOnTheWay, outcomeOfOutput } from './fault-cause.js';
import { fault, type Outcome } from './outcome.js';

/**
 * Brings what is in /output to private-api, as a zip. While private-api is away, or its disk is full,
 * this is tried again for as long as the attempt is ours: hours of work are not thrown away for a
 * restart. An engine is waited for, too, not as long. The container is at rest, so each try reads the
 * same.
 */
export async function collectOutput(run: AttemptRun, container: string): Promise<Outcome> {
  const bring = () => outlastEngineOutage(() => bringOutput(run, container), run.abandoned);
  return retryPassing(bring, {
    signal: run.abandoned,
    forMs: Number.POSITIVE_INFINITY,
    passes: isOnTheWay,
    onRetry: (error) => {
      const { taskUid, attempt } = run.held;
      run.logger.warn({ taskUid, attempt, reason: messageOf(error) }, 'the upload is repeated');
    },
  });
}

async function bringOutput(run: AttemptRun, container: string): Promise<Outcome> {
  const { engine, api, settings, abandoned: signal } = run;
  const leftOut = createLeftOut();
  const tar = await engine.getArchive(container, '/output', signal);
  const zip = tarToZip(tar, {
    signal,
    maxBytes: settings.maxOutputBytes,
    maxEntries: settings.maxOutputEntries,
    onLeftOut: leftOut.add,
    openHardLink: (target) => engine.getArchive(container, `/output/${target}`, signal),
  });
  const { passing, digest } = hashing();
  const passed = pipeline(zip, passing, { signal });
  passed.catch(() => undefined);
  try {
    const stored = await api.putOutput(run.held, passing, signal);
    crashPoint('output_sent', run.held.taskUid);
    for (const line of leftOut.lines()) run.log.note(line);
    if (stored.sha256 !== digest()) {
      return fault(
        'upload_failed',
        'The output was stored with another digest than it was sent with.',
      );
    }
    return { kind: 'finished', outputSha256: stored.sha256, detail: 'Finished.', exitCode: 0 };
  } catch (error) {
    const outcome = outcomeOfOutput(error);
    if (outcome === undefined) throw error;
    return outcome;
  }
}

/** The first lines, and how many more there were. */
function createLeftOut() {
  const lines: string[] = [];
  let more = 0;
  return {
    add: (line: string) => {
      if (lines.length < maxLeftOut) lines.push(line);
      else more += 1;
    },
    lines: () => (more === 0 ? lines : [...lines, `left out: … and ${more} more`]),
  };
}

const maxLeftOut = 50;

function hashing() {
  const hash = createHash('sha256');
  const passing = new Transform({
    transform(chunk: Buffer, _encoding, done) {
      hash.update(chunk);
      done(null, chunk);
    },
  });
  return { passing, digest: () => hash.digest('hex') };
}
