// npm run check:supply-chain: the packages that we stand on, held against the lists in security/. The last
// line is `N passed, N failed`; what could not be checked is told apart, and fails with --require-audit.
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import {
  approvalProblems,
  auditProblems,
  installScriptProblems,
  licenceProblems,
  lockFileProblems,
} from './dependency-checks.mjs';
import { npmAudit } from './npm-audit.mjs';
import { repository } from './setup.mjs';
import { countSteps } from './steps.mjs';
import { listenForStop } from './stop-requests.mjs';

const signal = listenForStop();
const { step, conclude } = countSteps(signal);
const read = async (path) => JSON.parse(await readFile(join(repository, path), 'utf8'));
const [manifest, lock, lists, allowed] = await Promise.all(
  [
    'package.json',
    'package-lock.json',
    'security/dependencies.json',
    'security/audit-allowed.json',
  ].map(read),
);
const foreign = Object.keys(lock.packages).filter((path) => path.includes('node_modules/')).length;

await step('lock file', () => none(lockFileProblems(lock), `${foreign} entries`));
await step('install scripts', () =>
  none(
    [...installScriptProblems(lock, lists), ...approvalProblems(manifest)],
    `${lists.installScripts.length} packages have some, none is run`,
  ),
);
await step('licences', () =>
  none(
    licenceProblems(lock, lists),
    `${lists.licences.allowed.length} allowed, ${lists.licences.exceptions.length} exceptions`,
  ),
);
const { report, notChecked } = await npmAudit({ folder: repository, signal });
if (report !== undefined || process.argv.includes('--require-audit')) {
  await step('npm audit', () => {
    if (report === undefined) throw new Error(notChecked);
    const today = new Date().toISOString().slice(0, 10);
    return none(auditProblems(report, allowed, today), `${allowed.allowed.length} allowed`);
  });
} else {
  console.log(`– npm audit: not checked: ${notChecked}`);
  console.log('1 not checked');
}
conclude();

function none(problems, otherwise) {
  if (problems.length > 0) throw new Error(`\n    ${problems.join('\n    ')}`);
  return otherwise;
}
