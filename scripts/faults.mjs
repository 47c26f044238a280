// npm run test:faults: the whole server, while its parts are stopped, killed, frozen and taken away. The
// last line is `N passed, N failed`.
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
if (ready) await runTests(['tests/faults'], { counts, step, signal });
conclude();
