// node scripts/test-suite.mjs PATH: the tests whose files' paths have this in them, which are too long for
// `npm test` (npm run test:outages, test:hostile), or need a GPU (test:gpu). The last line is `N passed, N failed`.
import { build } from './build.mjs';
import { runTests } from './run-tests.mjs';
import { setUp } from './setup.mjs';
import { countSteps } from './steps.mjs';
import { listenForStop } from './stop-requests.mjs';

const signal = listenForStop();
const { counts, step, conclude } = countSteps(signal);
const ready =
  (await step('set-up', () => setUp({ purpose: 'test', signal }))) &&
  (await step('build', () => build(signal)));
if (ready) await runTests(process.argv.slice(2), { minutes: 40, counts, step, signal });
conclude();
