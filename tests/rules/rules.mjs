import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { rulesOfAccess } from './access.mjs';
import { rulesOfAudit } from './audit.mjs';
import { rulesOfClocks } from './clocks.mjs';
import { rulesOfConsumers } from './consumers.mjs';
import { rulesOfEnds } from './ends.mjs';
import { rulesOfLeases } from './leases.mjs';
import { rulesOfLeftovers } from './leftovers.mjs';
import { rulesOfMigrations } from './migrations.mjs';
import { rulesOfModels } from './models.mjs';
import { rulesOfPosts } from './posts.mjs';
import { rulesOfReplicas } from './replicas.mjs';
import { rulesOfSecrets } from './secrets.mjs';
import { rulesOfSandbox } from './sandbox.mjs';
import { rulesOfSweeps } from './sweeps.mjs';
import { rulesOfTickets } from './tickets.mjs';

/**
 * A rule of a task's life, and how to do without it. `text` stands exactly once in `file`, and
 * `without` in its place builds and leaves every statement with as many values as it is given. Each
 * of `tests` is a file and a part of the names of its tests, one of which fails then.
 *
 * @typedef {{ name: string, file: string, text: string, without: string, tests: [string, string][] }} Rule
 */

/** @type {readonly Rule[]} */
export const rules = [
  ...rulesOfLeases,
  ...rulesOfTickets,
  ...rulesOfEnds,
  ...rulesOfPosts,
  ...rulesOfClocks,
  ...rulesOfSweeps,
  ...rulesOfModels,
  ...rulesOfMigrations,
  ...rulesOfConsumers,
  ...rulesOfLeftovers,
  ...rulesOfAccess,
  ...rulesOfAudit,
  ...rulesOfReplicas,
  ...rulesOfSecrets,
  ...rulesOfSandbox,
];

/**
 * The file of the rule in this checkout, as it is and without the rule. Throws when the text does not
 * stand there exactly once: then the entry is stale.
 *
 * @param {Rule} rule
 * @param {string} root
 */
export async function readWithout({ file, text, without }, root) {
  const path = join(root, file);
  const before = await readFile(path, 'utf8');
  const times = before.split(text).length - 1;
  if (times !== 1) throw new Error(`stale: its text stands ${times} times in ${file}`);
  return { path, before, after: before.replace(text, () => without) };
}
