const run = 'apps/job-consumer/src/run/';
const outside = 'apps/job-consumer/test/outages/attempt-ended-from-outside.test.ts';
const quarantine = 'apps/job-consumer/test/outages/quarantine.test.ts';
const starts = 'apps/job-consumer/test/outages/start-failures.test.ts';
const frozen = 'apps/job-consumer/test/outages/attempt-frozen.test.ts';
const left = 'apps/job-consumer/test/outages/reconciliation.test.ts';
const outage = 'apps/job-consumer/test/engine-outage.test.ts';
const probe = 'apps/job-consumer/test/probe.test.ts';

/** @type {import('./rules.mjs').Rule[]} */
export const rulesOfLeftovers = [
  {
    name: 'a creation that fails is judged as a start is',
    file: `${run}start.ts`,
    text: "if (!isEngineProblem(error, 'refused', 'failed')) throw error;\n  }\n  const ours",
    without: "if (!isEngineProblem(error, 'refused')) throw error;\n  }\n  const ours",
    tests: [[starts, 'for a volume where it has a file']],
  },
  {
    name: 'no image of a model’s is in the way where volumes are filled',
    file: `${run}stage.ts`,
    text: 'image: await requireEmptyImage(engine),',
    without: 'image: (await requireEmptyImage(engine)) && run.work.container_tag,',
    tests: [[starts, 'an image with a file where the consumer fills volumes']],
  },
  {
    name: 'one import of the empty image at a time',
    file: 'apps/job-consumer/src/empty-image.ts',
    text: 'makings.set(engine, making);',
    without: '',
    tests: [[probe, 'probes at once make one image']],
  },
  {
    name: 'a probe makes no volume anew',
    file: 'apps/job-consumer/src/probe.ts',
    text: 'await requireMounted(engine, container, volumes);',
    without: 'void requireMounted;',
    tests: [[probe, 'a probe makes no volume anew that has gone']],
  },
  {
    name: 'a probe of an attempt is removed with it',
    file: `${run}start.ts`,
    text: "labels: own.labels('probe')",
    without: 'labels: {}',
    tests: [[left, 'a consumer removes the probe of an attempt']],
  },
  {
    name: 'the probe of a quarantine that is under way is nobody’s leftover',
    file: 'apps/job-consumer/src/reconciliation.ts',
    text: 'attempt === undefined ? !isInUse(name)',
    without: "attempt === undefined ? !isInUse(name) || name !== ''",
    tests: [[quarantine, 'a consumer that stops signs off before its probe has ended']],
  },
  {
    name: 'a probe that was left is removed in every pass',
    file: 'apps/job-consumer/src/reconciliation.ts',
    text: 'attempt === undefined ? !isInUse(name)',
    without: "attempt === undefined ? isInUse(name) && name === ''",
    tests: [[left, 'a consumer removes a probe that was left']],
  },
  {
    name: 'a consumer is ready before leftovers are gone',
    file: 'apps/job-consumer/src/reconciliation.ts',
    text: 'if (madeGood === resets) onPending(blockedBy());\n      const stay = await removeLeftovers(leftovers, logger, signal);',
    without: 'const stay = await removeLeftovers(leftovers, logger, signal);',
    tests: [[left, 'is ready while the removal of a leftover hangs']],
  },
  {
    name: 'a look that fails does not take a consumer out of work',
    file: 'apps/job-consumer/src/reconciliation.ts',
    text: 'if (madeGood !== resets) onPending(',
    without: 'onPending(',
    tests: [[left, 'a consumer that is at work stays so']],
  },
  {
    name: 'what was left behind is looked for as soon as private-api is back',
    file: 'apps/job-consumer/src/heartbeat.ts',
    text: '          onBack();',
    without: '          void onBack;',
    tests: [[left, 'is back as soon as private-api is']],
  },
  {
    name: 'a volume that cannot be judged stays, and keeps nothing else up',
    file: 'apps/job-consumer/src/leftovers.ts',
    text: "if (signal.aborted || isEngineProblem(error, 'unreachable')) throw error;",
    without: "if (signal.aborted || isEngineProblem(error, 'unreachable', 'failed')) throw error;",
    tests: [[left, 'goes on when the engine cannot tell of one volume']],
  },
  {
    name: 'an adopted attempt is parked, be its container known or not',
    file: `${run}attempt.ts`,
    text: "let container = isAdopted ? run.own.name('run') : undefined;",
    without: 'let container: string | undefined;',
    tests: [[left, 'a consumer that stops while it adopts an attempt']],
  },
  {
    name: 'a claim whose answer was lost is looked for at once',
    file: 'apps/job-consumer/src/consumer.ts',
    text: '      giveUp();\n      // It may have been won all the same: then nobody else holds it.\n      reconciliation.hurry();',
    without: '      giveUp();',
    tests: [[left, 'a claim whose answer is lost is held by somebody soon']],
  },
  {
    name: 'a container that the engine did not start counts as not started',
    file: `${run}start.ts`,
    text: 'unstarted.add(container);\n    run.mayRun = false;',
    without: 'run.mayRun = false;',
    tests: [[outside, 'is given back when the consumer stops before a second try']],
  },
  {
    name: 'traces of an attempt that ended unforeseen are looked for',
    file: `${run}attempt.ts`,
    text: "return 'unknown';",
    without: "return 'left';",
    tests: [[outside, 'says that something may be left when it ends']],
  },
  {
    name: 'a run is judged by when it ended, not by a clock that stood still',
    file: `${run}execute.ts`,
    text: "if (end.reason === 'timed_out') {",
    without: "if (end.reason === 'timed_out' && limitMs < 0) {",
    tests: [[frozen, 'an attempt whose process stood still is judged by when it ended']],
  },
  {
    name: 'a first lease counts from when its claim was asked',
    file: `${run}lease.ts`,
    text: 'let renewedAt = askedAt;',
    without: 'let renewedAt = askedAt && performance.now();',
    tests: [[frozen, 'is confirmed when that was long ago']],
  },
  {
    name: 'a consumer that stops signs off before its probe has ended',
    file: 'apps/job-consumer/src/consumer.ts',
    text: 'const probed = quarantine.close();\n',
    without: 'const probed = quarantine.close();\n      await probed;\n',
    tests: [[quarantine, 'a consumer that stops signs off before its probe has ended']],
  },
  {
    name: 'a start whose answer was lost is looked for',
    file: `${run}start.ts`,
    text: 'if (found?.startedAt !== undefined) return { started: true };',
    without: 'void found;',
    tests: [[outage, 'when the answer to a start is lost']],
  },
  {
    name: 'a start that did not come through is repeated',
    file: `${run}start.ts`,
    text: 'if (!isEngineOutage(error)) throw error;',
    without: 'if (isEngineOutage(error)) throw error;',
    tests: [[outage, 'when the start has not come through']],
  },
  {
    name: 'an output is read again when the connection to the engine breaks',
    file: `${run}collect.ts`,
    text: 'outlastEngineOutage(() => bringOutput(run, container), run.abandoned)',
    without: 'bringOutput(run, container).finally(() => void outlastEngineOutage)',
    tests: [[outage, 'in the middle of an output']],
  },
  {
    name: 'a stop whose answer was lost is repeated',
    file: `${run}execute.ts`,
    text: 'await outlastEngineOutage(stop, bounds);',
    without: 'await stop();',
    tests: [[outage, 'when the answer to a stop is lost']],
  },
  {
    name: 'what two want of a device fits at once',
    file: 'apps/job-consumer/src/room.ts',
    text: 'part.isAlone || others.some((o) => o.isAlone)',
    without: 'part.isAlone && others.some((o) => o.isAlone)',
    tests: [
      [
        'apps/job-consumer/test/room.test.ts',
        'gives a run that does not say what it takes the whole device',
      ],
    ],
  },
  {
    name: 'what may run keeps what it has',
    file: `${run}attempt.ts`,
    text: '!run.mayRun || (traces',
    without: 'run.held.attempt > 0 || (traces',
    tests: [[outside, 'removes its container when superseded, and settles nothing']],
  },
  {
    name: 'a container that could not be adopted keeps its slot',
    file: 'apps/job-consumer/src/reconciliation.ts',
    text: 'if (!held.has(key) && hasRunning(there, key)) held.set(key, member.keep());',
    without: '',
    tests: [[left, 'leaves the slot to a container that it could not adopt']],
  },
  {
    name: 'the end of before a restart is none',
    file: 'packages/container-engine/src/docker/containers.ts',
    text: 'hasEnded(state) ? timeOf',
    without: "hasEnded(state) || state !== 'created' ? timeOf",
    tests: [[outside, 'also after a restart from outside']],
  },
  {
    name: 'a probe that cannot be removed has shown what it has shown',
    file: 'apps/job-consumer/src/probe.ts',
    text: 'await engine.removeContainer(container, uncut).catch(() => undefined);',
    without: 'await engine.removeContainer(container, uncut);',
    tests: [[left, 'a consumer removes the probe of an attempt']],
  },
  {
    name: 'what private-api answers before it has a whole output is its answer',
    file: 'apps/job-consumer/src/private-api-call.ts',
    text: "body.once('close', () => (culprit ??= body));",
    without: '',
    tests: [['apps/job-consumer/test/private-api-call.test.ts', 'tells what private-api answers']],
  },
];
