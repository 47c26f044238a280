/**
 * The directions of imports (docs/architecture.md). `contracts ← errors ← other packages ← apps`; no
 * app imports an app; each foreign library that holds a decision has one importer.
 */

/** Code that ships: everything but tests and what only tests use. */
const shipped = '^(packages/(?!testing/)[^/]+/src|apps/[^/]+/src)/';
const library = (names) => `(^|/)node_modules/(${names})(/|$)`;

/** `from` must not reach `to`. */
const forbid = (name, comment, from, to) => ({ name, comment, severity: 'error', from, to });

/** Only `owners` may reach the library, in what ships. */
const onlyIn = (name, names, owners) =>
  forbid(
    name,
    `Only ${owners} may import it.`,
    { path: shipped, pathNot: `^(${owners})/` },
    { path: library(names) },
  );

module.exports = {
  forbidden: [
    forbid('no-circle', 'Modules import each other in a circle.', {}, { circular: true }),
    forbid('not-resolvable', 'The import leads nowhere.', {}, { couldNotResolve: true }),
    forbid(
      'not-declared',
      'The package is in no package.json of the importer.',
      { path: shipped },
      { dependencyTypes: ['npm-no-pkg', 'npm-unknown'] },
    ),
    forbid(
      'development-only',
      'What ships must not need what only development installs.',
      { path: shipped },
      { dependencyTypes: ['npm-dev'], dependencyTypesNot: ['type-only', 'npm'] },
    ),
    forbid(
      'contracts-imports-nothing-of-ours',
      'contracts stands at the beginning.',
      { path: '^packages/contracts/src/' },
      { path: '^(packages|apps|examples)/', pathNot: '^packages/contracts/' },
    ),
    forbid(
      'errors-imports-contracts-only',
      'errors comes right after contracts.',
      { path: '^packages/errors/src/' },
      { path: '^(packages|apps|examples)/', pathNot: '^packages/(errors|contracts)/' },
    ),
    forbid(
      'packages-import-no-app',
      'Apps are made of packages, not the other way round.',
      { path: '^packages/' },
      { path: '^apps/' },
    ),
    forbid(
      'apps-import-no-app',
      'Apps know each other by contract only.',
      { path: '^apps/([^/]+)/' },
      { path: '^apps/', pathNot: '^apps/$1/' },
    ),
    forbid(
      'no-deep-import',
      'What a package offers stands in its index.',
      { path: '^(packages|apps)/([^/]+)/' },
      {
        path: '^packages/[^/]+/(src|dist|test)/',
        pathNot: '^packages/($2/|[^/]+/(src|dist)/index\\.)',
      },
    ),
    forbid(
      'testing-is-for-tests',
      'Fixtures must not ship.',
      { path: shipped },
      { path: ['^packages/testing/', library('vitest')] },
    ),
    forbid(
      'public-api-knows-no-insides',
      'It must not know database, tickets, docker or zips.',
      { path: '^apps/public-api/src/' },
      { path: '^packages/(task-queue|container-engine|blob-store|archive)/' },
    ),
    forbid(
      'rpc-gateway-knows-no-insides',
      'It must not know database, tickets, docker or where zips are kept.',
      { path: '^apps/rpc-gateway/src/' },
      { path: '^packages/(task-queue|container-engine|blob-store)/' },
    ),
    forbid(
      'private-api-knows-no-docker',
      'Containers are the job consumer’s.',
      { path: '^apps/private-api/src/' },
      { path: '^packages/container-engine/' },
    ),
    forbid(
      'standalone-knows-no-business',
      'It starts processes and talks to the public contract.',
      { path: '^apps/standalone/src/' },
      { path: '^packages/(task-queue|container-engine|blob-store|archive)/' },
    ),
    onlyIn('dockerode-has-one-importer', 'dockerode', 'packages/container-engine'),
    onlyIn('bullmq-has-one-importer', 'bullmq', 'packages/task-queue'),
    onlyIn('prisma-has-one-importer', '@prisma|prisma|\\.prisma|pg', 'apps/private-api'),
    onlyIn('archives-are-read-in-one-place', 'piscina|tar-stream', 'packages/archive'),
    onlyIn('adm-zip-takes-no-zip-of-a-user', 'adm-zip', 'apps/standalone'),
  ],
  options: {
    doNotFollow: { path: ['node_modules'] },
    exclude: { path: ['^(packages|apps|examples)/[^/]+/dist/', '/generated/'] },
    tsPreCompilationDeps: true,
    tsConfig: { fileName: 'tsconfig.tests.json' },
    enhancedResolveOptions: {
      exportsFields: ['exports'],
      conditionNames: ['import', 'default', 'node', 'types'],
      extensions: ['.ts', '.mts', '.js', '.mjs', '.cjs', '.json', '.d.ts'],
    },
  },
};
