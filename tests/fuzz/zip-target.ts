import { existsSync, writeFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import fc from 'fast-check';
import {
  checkZip,
  zipRefusals,
  zipToTar,
  type ZipFinding,
  type ZipLimits,
  type ZipSummary,
} from '@inference-server/archive';
import { AppError } from '@inference-server/errors';
import { listTar, type Found } from '../../packages/archive/test/trees.js';
import type { FuzzRun } from './run-cases.js';
import { watchStrayErrors } from './stray-errors.js';
import { zipBytes } from './zip-cases.js';

/**
 * Holds the gate against made and damaged zips: each gets a verdict in time and within memory, of which
 * a finding is in range, and a fourth of them the same one when read again; and the extractor agrees,
 * with a tar of just the summary's content under the target, or with the same finding. Throws with the
 * seed, the case, its bytes and, as the cause, what was wrong otherwise.
 */
export async function fuzzZip({ cases, seed, onCase }: FuzzRun): Promise<{ accepted: number }> {
  // Memory where there is some: a file for each case.
  const folder = await mkdtemp(join(existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), 'fuzz-zip-'));
  const before = process.memoryUsage.rss();
  const strays = watchStrayErrors();
  const path = join(folder, 'case.zip');
  let accepted = 0;
  let done = 0;
  try {
    for (const made of drawCases(cases, seed)) {
      onCase?.();
      try {
        if (await holdsSummary(made, { path, isReadAgain: done % 4 === 0 })) accepted += 1;
        strays.throwAny();
        const growth = done % 100 === 0 ? process.memoryUsage.rss() - before : 0;
        if (growth > maxGrowthBytes) throw new Error(`memory has grown by ${growth} bytes`);
      } catch (error) {
        const bytes = made.zip.toString('base64');
        throw new Error(`seed ${seed}, case ${done}: ${bytes}`, { cause: error });
      }
      done += 1;
    }
    return { accepted };
  } finally {
    strays.stop();
    await rm(folder, { recursive: true, force: true });
  }
}

const maxGrowthBytes = 512 * 1024 ** 2;
const caseTimeMs = 5_000;

interface ZipCase {
  zip: Buffer;
  limits: ZipLimits;
}

const zipCase: fc.Arbitrary<ZipCase> = fc.record({
  zip: zipBytes(2),
  limits: fc.record({
    maxUnzippedBytes: fc.constantFrom(1_000_000, 1_000_000, 1_000_000, 2 ** 53, 500),
    maxEntries: fc.constantFrom(1000, 1000, 1000, 1000, 3, 1),
    maxRatio: fc.constantFrom(200, 1),
  }),
});

/** Some at a time: all of them would take the memory that is watched. */
function* drawCases(cases: number, seed: number): Generator<ZipCase> {
  const inOneGo = 500;
  for (let from = 0; from < cases; from += inOneGo) {
    const numRuns = Math.min(inOneGo, cases - from);
    yield* fc.sample(zipCase, { seed: Math.imul(seed, 1_000_003) + from, numRuns });
  }
}

/** Whether the gate lets the zip pass. */
async function holdsSummary(
  { zip, limits }: ZipCase,
  { path, isReadAgain }: { path: string; isReadAgain: boolean },
): Promise<boolean> {
  writeFileSync(path, zip);
  const late = new AbortController();
  const timer = setTimeout(() => {
    late.abort(new Error('it took too long'));
  }, caseTimeMs);
  try {
    // Side by side: most of the time of a small zip is waiting for its file.
    const [verdict, again, extracted] = await Promise.all([
      checkZip(path, limits, late.signal),
      isReadAgain ? checkZip(path, limits, late.signal) : undefined,
      extract(path, limits, late.signal),
    ]);
    if (again !== undefined && !isDeepStrictEqual(verdict, again)) {
      throw new Error(`first ${show(verdict)}, then ${show(again)}`);
    }
    if ('finding' in verdict) {
      checkFinding(verdict.finding, zip, limits);
      const found = 'finding' in extracted ? extracted.finding : 'nothing';
      if (isDeepStrictEqual(found, verdict.finding)) return false;
      throw new Error(`the gate finds ${show(verdict)}, the extractor ${show(found)}`);
    }
    if ('finding' in extracted) throw new Error(`only the extractor finds ${show(extracted)}`);
    checkTar(extracted.entries, verdict.summary);
    return true;
  } finally {
    clearTimeout(timer);
  }
}

const show = (value: unknown) => JSON.stringify(value);

async function extract(
  path: string,
  limits: ZipLimits,
  signal: AbortSignal,
): Promise<{ entries: Found[] } | { finding: ZipFinding }> {
  try {
    return { entries: await listTar(zipToTar(path, { limits, signal })) };
  } catch (error) {
    if (!(error instanceof AppError) || error.code !== 'ZIP_REFUSED') throw error;
    return { finding: error.extensions as unknown as ZipFinding };
  }
}

function checkFinding(finding: ZipFinding, zip: Buffer, limits: ZipLimits): void {
  const { reason, entry = 1, offset = 0, allowed, ...rest } = finding;
  const isSound =
    zipRefusals.includes(reason) &&
    Number.isSafeInteger(entry) &&
    entry >= 1 &&
    entry <= limits.maxEntries &&
    Number.isSafeInteger(offset) &&
    offset >= 0 &&
    offset <= zip.length &&
    (allowed === undefined || Object.values(limits).includes(allowed)) &&
    Object.keys(rest).length === 0;
  if (!isSound) throw new Error(`a finding out of range: ${show(finding)}`);
}

/** The tar holds what the summary counts, each once, nothing outside of its folder. */
function checkTar([root, ...entries]: Found[], summary: ZipSummary): void {
  if (root?.name !== './') throw new Error('the tar does not begin with its own folder');
  const counted: ZipSummary = { files: 0, folders: 0, unzippedBytes: 0 };
  const names = new Set<string>();
  for (const { name, type, content } of entries) {
    const path = name.replace(/\/$/, '');
    const parts = path.split('/');
    const isInside = parts.every((part) => !['', '.', '..'].includes(part)) && !path.includes('\\');
    // eslint-disable-next-line no-control-regex
    if (!isInside || /[\0-\x1f]/.test(path)) throw new Error(`a path in the tar: ${show(path)}`);
    const parent = parts.slice(0, -1).join('/');
    if (parent !== '' && !names.has(`${parent}/`)) throw new Error(`no folder for ${show(path)}`);
    if (names.has(path) || names.has(`${path}/`))
      throw new Error(`twice in the tar: ${show(path)}`);
    if (type !== 'file' && type !== 'directory') throw new Error(`in the tar: ${type}`);
    names.add(type === 'directory' ? `${path}/` : path);
    counted.folders += type === 'directory' ? 1 : 0;
    counted.files += type === 'file' ? 1 : 0;
    counted.unzippedBytes += content.length;
  }
  if (!isDeepStrictEqual(counted, summary)) {
    throw new Error(`the gate says ${show(summary)}, the tar holds ${show(counted)}`);
  }
}
