const run = 'apps/job-consumer/src/run/';
const outside = 'apps/job-consumer/test/attempt-ended-from-outside.test.ts';
const consumer = 'apps/job-consumer/test/consumer.test.ts';
const quarantine = 'apps/job-consumer/test/quarantine.test.ts';
const starts = 'apps/job-consumer/test/start-failures.test.ts';
const attempt = 'apps/job-consumer/test/attempt.test.ts';
const frozen = 'apps/job-consumer/test/attempt-frozen.test.ts';
const left = 'apps/job-consumer/test/reconciliation.test.ts';

/** @type {import('./rules.mjs').Rule[]} */
export const rulesOfConsumers = [
  {
    name: 'the lease is confirmed before a clock stops a container',
    file: `${run}execute.ts`,
    text: 'await run.requireLease();\n    const stop',
    without: 'const stop',
    tests: [[outside, 'is not stopped by its clock before its lease is confirmed']],
  },
  {
    name: 'an attempt that was adopted is left untouched',
    file: `${run}attempt.ts`,
    text: "return how === 'settled' || how === 'superseded' ? 'ours' : 'left';",
    without:
      "return how === 'settled' || how === 'superseded' || how === 'adopted' ? 'ours' : 'left';",
    tests: [[outside, 'touches nothing when it was adopted']],
  },
  {
    name: 'an attempt that is superseded is removed',
    file: `${run}attempt.ts`,
    text: "return how === 'settled' || how === 'superseded' ? 'ours' : 'left';",
    without: "return how === 'settled' ? 'ours' : 'left';",
    tests: [[outside, 'removes its container when superseded']],
  },
  {
    name: 'a task is cancelled when its container is gone',
    file: `${run}cancel.ts`,
    text: 'const settlement = await settleAttempt(run, await remove(run));',
    without:
      "const settlement = await settleAttempt(run, { kind: 'cancelled', detail: '', exitCode: null });\n  await remove(run);",
    tests: [[outside, 'is stopped and removed when the task is cancelled']],
  },
  {
    name: 'a cancel that comes before the settlement is carried out',
    file: `${run}attempt.ts`,
    text: "if (answer === 'cancel_requested') return tracesAfter(run, await cancelAttempt(run));",
    without: '',
    tests: [[outside, 'is cancelled too when the cancel comes between']],
  },
  {
    name: 'hand-over: what runs when the consumer stops is left to the next process',
    file: `${run}attempt.ts`,
    text: 'else if (isStarted(run, container) && run.settings.handsOver)',
    without: "else if (isStarted(run, container) && container === '' && run.settings.handsOver)",
    tests: [[outside, 'is parked when the consumer stops']],
  },
  {
    name: 'HAND_OVER=false: what runs when the consumer stops is given back',
    file: `${run}attempt.ts`,
    text: 'else if (isStarted(run, container) && run.settings.handsOver)',
    without: 'else if (isStarted(run, container))',
    tests: [[outside, 'is given back when a consumer stops that hands nothing over']],
  },
  {
    name: 'a container that somebody has killed is a fault',
    file: `${run}execute.ts`,
    text: 'if (interrupted || (wasUnwatched',
    without: 'if ((interrupted && startError !== undefined) || (wasUnwatched',
    tests: [[attempt, 'is a container that somebody else has killed']],
  },
  {
    name: 'an end by SIGKILL that nobody watched is a fault',
    file: `${run}execute.ts`,
    text: '(wasUnwatched && endedFromOutside.has(exitCode))',
    without: '(wasUnwatched && endedFromOutside.has(-exitCode))',
    tests: [[outside, 'is a fault when a signal ended it while nobody watched']],
  },
  {
    name: 'the time limit of an adopted container counts from its start',
    file: `${run}execute.ts`,
    text: 'overdueAfter(limitMs - usedMs, bounds)',
    without: 'overdueAfter(limitMs - 0 * usedMs, bounds)',
    tests: [[outside, 'is out of time when its time was over before it was adopted']],
  },
  {
    name: 'a container that was created and never started is discarded',
    file: `${run}resume.ts`,
    text: 'if (found?.startedAt === undefined) {',
    without:
      'if (found !== undefined && found.startedAt === undefined) return { container: found.id };\n  if (found?.startedAt === undefined) {',
    tests: [[consumer, 'adopts what its predecessor left']],
  },
  {
    name: 'what private-api says that the predecessor held is adopted',
    file: 'apps/job-consumer/src/reconciliation.ts',
    text: 'found.set(keyOf({ taskUid, attempt }), { taskUid, attempt });',
    without: 'if (attempt < 0) found.set(keyOf({ taskUid, attempt }), { taskUid, attempt });',
    tests: [[consumer, 'adopts what its predecessor left']],
  },
  {
    name: 'the containers that the predecessor left are waited for and collected',
    file: `${run}resume.ts`,
    text: "own.name('run')",
    without: "own.name('stage')",
    tests: [[consumer, 'adopts what its predecessor left']],
  },
  {
    name: 'leftovers of another consumer are not touched',
    file: 'apps/job-consumer/src/leftovers.ts',
    text: 'engine.listContainers(names.own, signal)',
    without:
      "engine.listContainers({ [labelNames.installation]: names.own[labelNames.installation] ?? '' }, signal)",
    tests: [[consumer, 'removes at its start what an earlier one of its name has left']],
  },
  {
    name: 'leftovers of another installation are not touched',
    file: 'apps/job-consumer/src/leftovers.ts',
    text: 'engine.listContainers(names.own, signal)',
    without:
      "engine.listContainers({ [labelNames.consumer]: names.own[labelNames.consumer] ?? '' }, signal)",
    tests: [[consumer, 'removes at its start what an earlier one of its name has left']],
  },
  {
    name: 'volumes of another consumer are not touched',
    file: 'apps/job-consumer/src/leftovers.ts',
    text: 'engine.listVolumes(names.own, signal)',
    without:
      "engine.listVolumes({ [labelNames.installation]: names.own[labelNames.installation] ?? '' }, signal)",
    tests: [[consumer, 'removes at its start what an earlier one of its name has left']],
  },
  {
    name: 'volumes of another installation are not touched',
    file: 'apps/job-consumer/src/leftovers.ts',
    text: 'engine.listVolumes(names.own, signal)',
    without:
      "engine.listVolumes({ [labelNames.consumer]: names.own[labelNames.consumer] ?? '' }, signal)",
    tests: [[consumer, 'removes at its start what an earlier one of its name has left']],
  },
  {
    name: 'an attempt runs once, however often its ticket comes',
    file: 'apps/job-consumer/src/active-attempts.ts',
    text: 'if (active.has(key)) return undefined;',
    without: '',
    tests: [[consumer, 'runs an attempt once, however often its ticket comes']],
  },
  {
    name: 'an attempt is active from before its claim',
    file: 'apps/job-consumer/src/active-attempts.ts',
    text: 'if (active.has(key)) return undefined;',
    without: "if (![undefined, 'reserved'].includes(active.get(key) as string)) return undefined;",
    tests: [[left, 'an attempt that is claimed while the engine is away for a moment']],
  },
  {
    name: 'a consumer takes nothing before it has taken up what was left behind',
    file: 'apps/job-consumer/src/consumer.ts',
    text: 'slots.setOpen(pending === undefined && quarantine.reason === undefined);',
    without: 'slots.setOpen(quarantine.reason === undefined);',
    tests: [[left, 'says so, takes nothing, and tries again']],
  },
  {
    name: 'a consumer is not ready before it has taken up what was left behind',
    file: 'apps/job-consumer/src/consumer.ts',
    text: 'if (pending !== undefined) return {',
    without: "if (pending === '') return {",
    tests: [[left, 'says so, takes nothing, and tries again']],
  },
  {
    name: 'a leftover that stays keeps nothing else up',
    file: 'apps/job-consumer/src/leftovers.ts',
    text: '      stay.push(thing);',
    without: '      stay.push(thing);\n      throw error;',
    tests: [[left, 'goes on when only the engine does not remove something']],
  },
  {
    name: 'an attempt that cannot be adopted keeps nothing else up',
    file: 'apps/job-consumer/src/reconciliation.ts',
    text: '        failures.push(error);',
    without: '        reservation.release();\n        throw error;',
    tests: [
      [left, 'goes on when private-api fails on one attempt'],
      [left, 'adopts what it can while private-api'],
    ],
  },
  {
    name: 'what is left of an attempt that cannot be adopted stays',
    file: 'apps/job-consumer/src/reconciliation.ts',
    text: '        failures.push(error);',
    without: '        over.add(key);',
    tests: [[left, 'goes on when private-api fails on one attempt']],
  },
  {
    name: 'a consumer looks from time to time for what it has lost sight of',
    file: 'apps/job-consumer/src/reconciliation.ts',
    text: 'troubles === 0\n          ? intervalMs',
    without: 'troubles === 0\n          ? 1_000 * intervalMs',
    tests: [[left, 'removes from time to time what it has lost sight of']],
  },
  {
    name: 'a process that was replaced removes nothing',
    file: 'apps/job-consumer/src/reconciliation.ts',
    text: '        failures.push(error);',
    without: '        over.add(key);',
    tests: [[left, 'a consumer that was replaced, and has not heard of it']],
  },
  {
    name: 'an attempt that was adopted is not started',
    file: `${run}execute.ts`,
    text: 'await run.requireLease();\n      const refused',
    without: 'const refused',
    tests: [[frozen, 'is not started, and its containers are removed']],
  },
  {
    name: 'of an attempt that was adopted what nobody has started is removed',
    file: `${run}clean-up.ts`,
    text: 'for (const id of unstarted) await',
    without: "for (const id of unstarted) if (id === '') await",
    tests: [[frozen, 'is not started, and its containers are removed']],
  },
  {
    name: 'a volume that the engine has made anew is not used, and goes',
    file: 'apps/job-consumer/src/model-volume.ts',
    text: 'if (mounted?.labels[labelNames.kind] !== kind) lost',
    without: "if (mounted?.labels[labelNames.kind] !== kind && kind === 'model-data') lost",
    tests: [
      [frozen, 'leaves no volume that the engine has made anew'],
      [frozen, 'an attempt whose volumes were removed before their use'],
    ],
  },
  {
    name: 'a container that has ended is judged by how it ended',
    file: `${run}execute.ts`,
    text: 'if (startedAt !== undefined && endedAt !== undefined) {',
    without: 'if (startedAt !== undefined && endedAt !== undefined && limitMs < 0) {',
    tests: [[outside, 'is judged by how long it ran when it had ended']],
  },
  {
    name: 'a container that had ended too late was out of time',
    file: `${run}execute.ts`,
    text: 'const tookTooLong = endedAt.getTime()',
    without: 'const tookTooLong = 0 * endedAt.getTime()',
    tests: [[outside, 'is judged by how long it ran when it had ended']],
  },
  {
    name: 'no lease is renewed after it was parked',
    file: `${run}park.ts`,
    text: 'await run.stopLease();',
    without: '',
    tests: [[outside, 'is parked when private-api was away for a while']],
  },
  {
    name: 'a lease is parked as long as there is time',
    file: `${run}park.ts`,
    text: 'const signal = outOfTime.aborted ?',
    without: "const signal = typeof outOfTime.aborted === 'boolean' ?",
    tests: [[outside, 'is parked when private-api was away for a while']],
  },
  {
    name: 'quarantine: after so many faults of its own a consumer takes nothing',
    file: 'apps/job-consumer/src/quarantine.ts',
    text: 'if (faults < after) return;',
    without: 'if (faults < 100 * after) return;',
    tests: [[quarantine, 'goes into quarantine after three of its device']],
  },
  {
    name: 'quarantine ends when a probe passes, not before',
    file: 'apps/job-consumer/src/quarantine.ts',
    text: 'await probe(closing.signal);',
    without: 'await probe(closing.signal).catch(() => undefined);',
    tests: [[quarantine, 'goes into quarantine after three of its device']],
  },
  {
    name: 'quarantine: the faults of one outage count once',
    file: 'apps/job-consumer/src/quarantine.ts',
    text: 'counted !== countedBefore',
    without: 'counted < countedBefore',
    tests: [[quarantine, 'counts those of one outage once']],
  },
  {
    name: 'quarantine: a fault counts when private-api took it as the end of the attempt',
    file: `${run}settle.ts`,
    text: "if (answer.outcome === 'settled') {",
    without: 'if (answer.outcome.length > 0) {',
    tests: [[quarantine, 'when what it says of its attempts is not taken']],
  },
  ...[
    [
      'engine_away',
      "ofConsumer: true,\n    meaning: 'The container engine did",
      'does for its engine, and comes back though its last image is gone',
    ],
    [
      'disk_full',
      "ofConsumer: true,\n    meaning: 'The disk of the consumer",
      'does for a full disk',
    ],
    [
      'device_lost',
      "ofConsumer: true,\n    meaning: 'The device of the",
      'goes into quarantine after three of its device',
    ],
    ['internal', 'internal: { backOffS: 5, ofConsumer: true', 'does for what it cannot explain'],
  ].map(([cause = '', text = '', test = '']) => ({
    name: `quarantine: ${cause} is a fault of the consumer's own`,
    file: 'packages/contracts/src/fault-causes.ts',
    text,
    without: text.replace('true', 'false'),
    tests: /** @type {[string, string][]} */ ([[quarantine, test]]),
  })),
  {
    name: 'quarantine: what private-api fails at is no fault of the consumer',
    file: `${run}fault-cause.ts`,
    text: "ownMistakes.has(error.code) ? 'internal' : 'upload_failed'",
    without: "ownMistakes.has(error.code) ? 'internal' : 'engine_away'",
    tests: [[quarantine, 'when private-api fails at its outputs']],
  },
  {
    name: 'an upload without a current lease is repeated until a renewal tells',
    file: `${run}fault-cause.ts`,
    text: " || error.code === 'CONFLICT';",
    without: ';',
    tests: [[attempt, 'is brought again until it can']],
  },
  {
    name: 'an image that does not start is no fault while a probe starts',
    file: `${run}start.ts`,
    text: 'if (problem === undefined) return undefined;',
    without:
      "if (problem === undefined) return fault('engine_away', 'No container can be started.');",
    tests: [
      [quarantine, 'when an image does not start, however often'],
      [starts, 'an image that no engine starts fails by itself'],
    ],
  },
  {
    name: 'a start that fails where no probe starts is a fault',
    file: `${run}start.ts`,
    text: 'if (ours !== undefined) return ours;\n  await run.requireLease();',
    without: 'void ours;\n  await run.requireLease();',
    tests: [[quarantine, 'does for its engine, and comes back though its last image is gone']],
  },
  {
    name: 'a probe has the volumes of the container that did not start',
    file: 'packages/container-engine/src/sandbox.ts',
    text: 'mounts: volumes.map(',
    without: 'mounts: volumes.slice(volumes.length).map(',
    tests: [[quarantine, 'finds with a probe that a volume cannot be mounted']],
  },
  {
    name: 'a device is lost when containers without it start',
    file: `${run}start.ts`,
    text: '(await problemWith(null)) === undefined',
    without: '(await problemWith(null)) !== null',
    tests: [[quarantine, 'tells a broken engine from a broken device']],
  },
  {
    name: 'a container that failed to start while others do is started again',
    file: `${run}start.ts`,
    text: 'return again.started ? undefined : imageFails(again.startError);',
    without: 'return imageFails(again.started ? start.startError : again.startError);',
    tests: [[quarantine, 'starts a container again that failed to start while others do']],
  },
  {
    name: 'limits that the engine refuses are no fault of the image',
    file: `${run}stage.ts`,
    text: 'return createModel(run, volumes, () => createMounting(run, spec, volumes));',
    without:
      "void createModel;\n  return createMounting(run, spec, volumes).catch((error) =>\n    failed('start_failed', (error as Error).message),\n  );",
    tests: [[quarantine, 'calls limits that the engine refuses its own fault']],
  },
  {
    name: 'a full disk at a pull is told as such',
    file: 'packages/container-engine/src/docker/images.ts',
    text: 'if (tellsOfFullDisk(detail))',
    without: 'if (tellsOfFullDisk(detail.slice(detail.length)))',
    tests: [['packages/container-engine/test/pull.test.ts', 'tells of a full disk']],
  },
  {
    name: 'a consumer whose engine is away claims nothing',
    file: 'apps/job-consumer/src/consumer.ts',
    text: 'else reconciliation.reset();',
    without: '',
    tests: [[left, 'a consumer takes nothing while its engine is away']],
  },
];
