const models = 'apps/private-api/src/modules/models/repository.ts';
const sweeps = 'apps/private-api/test/outages/sweeps.test.ts';
const live = 'apps/private-api/test/models-live.test.ts';
const versions = 'apps/private-api/test/model-versions.test.ts';

const names = 'apps/private-api/src/modules/models/names.ts';
const alike = 'apps/private-api/test/model-names.test.ts';

/** @type {import('./rules.mjs').Rule[]} */
export const rulesOfModels = [
  {
    name: 'no two models are of one qualified name',
    file: names,
    text: 'if (alike.some(({ lives }) => lives)) throw',
    without: 'if (alike.some(({ lives, id }) => lives && id === humanReadableId)) throw',
    tests: [[alike, 'is refused where one is there that ZeroRPC could not tell from it']],
  },
  {
    name: 'of two models of one qualified name that come at once one wins',
    file: names,
    text: 'SELECT pg_advisory_xact_lock(hashtext($1))',
    without: 'SELECT length($1)',
    tests: [[alike, 'comes first where several that are alike come at once']],
  },
  {
    name: 'a model’s DELETE refuses new tasks',
    file: models,
    text: 'WHERE human_readable_id = $1 AND deleted_at IS NULL FOR KEY SHARE',
    without: 'WHERE human_readable_id = $1 FOR KEY SHARE',
    tests: [[live, 'refuses a task that was being posted when it went']],
  },
  {
    name: 'a model’s DELETE lets running tasks end',
    file: models,
    text: "t.model_version_id = v.id AND t.state IN ('PENDING', 'QUEUED', 'RUNNING')",
    without: "t.model_version_id = v.id AND t.state IN ('PENDING', 'QUEUED')",
    tests: [
      [sweeps, 'go unless the version is current or a task needs it'],
      [versions, 'when its model is deleted ends with its files'],
    ],
  },
  {
    name: 'the files of a version stay for the tasks that wait with it',
    file: models,
    text: "t.model_version_id = v.id AND t.state IN ('PENDING', 'QUEUED', 'RUNNING')",
    without: "t.model_version_id = v.id AND t.state IN ('RUNNING')",
    tests: [[sweeps, 'go unless the version is current or a task needs it']],
  },
  {
    name: 'the files of the current version stay',
    file: models,
    text: 'm.deleted_at IS NULL AND m.current_version = v.number\n',
    without: 'false\n',
    tests: [[sweeps, 'go unless the version is current or a task needs it']],
  },
  {
    name: 'the files of an earlier version go',
    file: models,
    text: 'm.deleted_at IS NULL AND m.current_version = v.number\n',
    without: 'm.deleted_at IS NULL\n',
    tests: [[versions, 'go when a next one is there and no task needs them']],
  },
  {
    name: 'the files of a deleted model go',
    file: models,
    text: 'm.deleted_at IS NULL AND m.current_version = v.number\n',
    without: 'm.current_version = v.number\n',
    tests: [[sweeps, 'go unless the version is current or a task needs it']],
  },
  {
    name: 'a task keeps the version that was current at its post',
    file: 'apps/private-api/src/modules/attempts/repository.ts',
    text: 'JOIN model_versions v ON v.id = t.model_version_id\n           JOIN blobs i',
    without:
      'JOIN model_versions o ON o.id = t.model_version_id\n           JOIN models m ON m.human_readable_id = o.human_readable_id\n           JOIN model_versions v ON v.human_readable_id = m.human_readable_id AND v.number = m.current_version\n           JOIN blobs i',
    tests: [[versions, 'has the version that was current when its post was complete']],
  },
  {
    name: 'a put and a DELETE wait for the tasks that are being bound',
    file: models,
    text: 'WHERE human_readable_id = $1 AND deleted_at IS NULL FOR KEY SHARE',
    without: 'WHERE human_readable_id = $1 AND deleted_at IS NULL',
    tests: [
      [
        'apps/private-api/test/task-repository.test.ts',
        'a task is bound to the version that is current until its transaction has ended',
      ],
    ],
  },
];
