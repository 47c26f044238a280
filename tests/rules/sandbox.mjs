const calls = 'packages/container-engine/test/engine-calls.test.ts';
const policy = 'apps/job-consumer/test/policy.test.ts';
const form = 'packages/container-engine/src/docker/require-sandbox.ts';

/** What keeps models, and mistakes of ours, within the sandbox. */
export const rulesOfSandbox = [
  {
    name: 'no container that may leave a core is asked for',
    file: form,
    text: "Name === 'core' && Hard === 0",
    without: "Name === 'core' && Hard <= 0",
    tests: [[calls, 'does not leave the process']],
  },
  {
    name: 'nothing but the calls of the list leaves for an engine',
    file: 'packages/container-engine/src/docker/allowed-calls.ts',
    text: 'return isAsked ? call : undefined;',
    without: 'return isAsked ? (call ?? allowedCalls[0]) : undefined;',
    tests: [[calls, 'does not leave the process']],
  },
  {
    name: 'no container outside the sandbox is asked for',
    file: 'packages/container-engine/src/docker/allowed-calls.ts',
    text: "path: '/containers/create', requireBody: requireSandbox",
    without:
      "path: '/containers/create', requireBody: (body) => body === null && requireSandbox(body)",
    tests: [[calls, 'does not leave the process']],
  },
  {
    name: 'no container with swap is asked for',
    file: form,
    text: 'if (Memory !== MemorySwap)',
    without: 'if (Memory !== MemorySwap && Memory < 0)',
    tests: [[calls, 'does not leave the process']],
  },
  {
    name: 'the policy of a host holds for what it runs',
    file: 'apps/job-consumer/src/run/stage.ts',
    text: 'if (forbidden !== undefined) return',
    without: "if (forbidden?.detail === '') return",
    tests: [[policy, 'runs nothing that the policy of its host does not allow']],
  },
  {
    name: 'what a model asks for is held against the policy of the host',
    file: 'packages/contracts/src/policy.ts',
    text: 'if (network !== null && !entries.some(',
    without: "if (network === '' && !entries.some(",
    tests: [[policy, 'does not have it without a policy of the host']],
  },
  {
    name: 'the policy holds for what is registered',
    file: 'apps/private-api/src/modules/models/service.ts',
    text: "if (refusal !== undefined) throw notAllowed('container_tag', refusal);",
    without: "if (refusal?.detail === '') throw notAllowed('container_tag', refusal);",
    tests: [['apps/private-api/test/allowed-models.test.ts', 'registers what the policy allows']],
  },
  {
    name: 'a consumer whose engine lacks what the policy wants takes nothing',
    file: 'apps/job-consumer/src/consumer.ts',
    text: "if (typeof lack === 'string') throw",
    without: "if (lack === '') throw",
    tests: [[policy, 'takes tasks only where it has it']],
  },
];
