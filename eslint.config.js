import js from '@eslint/js';
import { defineConfig, globalIgnores } from 'eslint/config';
import tseslint from 'typescript-eslint';

/** What may read the environment: the beginnings of processes. */
const entryPoints = [
  '**/src/main.ts',
  'apps/job-consumer/src/sweep.ts',
  'apps/private-api/src/{migrate,sweep}.ts',
  'packages/testing/src/global-setup.ts',
  'benchmarks/**',
  'faults/**',
  'examples/**',
  'scripts/**',
];

export default defineConfig(
  globalIgnores(['**/dist/', '**/generated/', '**/coverage/', '.data/', '.turbo/']),
  {
    extends: [js.configs.recommended],
    linterOptions: { reportUnusedDisableDirectives: 'error' },
    rules: {
      eqeqeq: ['error', 'always', { null: 'ignore' }],
      'max-lines': ['error', { max: 400, skipBlankLines: false, skipComments: false }],
      'no-restricted-syntax': [
        'error',
        {
          selector:
            'CallExpression[callee.object.name="AbortSignal"][callee.property.name="any"] ' +
            'CallExpression[callee.object.name="AbortSignal"][callee.property.name="timeout"]',
          message: 'Such a timeout may be collected before it aborts: use joinSignals.',
        },
      ],
      'no-restricted-imports': [
        'error',
        {
          patterns: [
            {
              group: ['@inference-server/*/*', '!@inference-server/example-*/*'],
              message: 'A package is imported by its name; what it offers stands in its index.',
            },
          ],
        },
      ],
    },
  },
  {
    files: ['**/*.{js,mjs,cjs}'],
    languageOptions: {
      globals: Object.fromEntries(
        ['AbortController', 'AbortSignal', 'Buffer', 'URL', 'URLSearchParams', 'clearInterval']
          .concat(['clearTimeout', 'console', 'fetch', 'performance', 'process', 'setInterval'])
          .concat(['setTimeout'])
          .map((name) => [name, 'readonly']),
      ),
    },
  },
  { files: ['**/*.cjs'], languageOptions: { sourceType: 'commonjs' } },
  {
    files: ['**/*.ts'],
    extends: [tseslint.configs.strictTypeChecked],
    languageOptions: {
      parserOptions: { project: ['tsconfig.tests.json'], tsconfigRootDir: import.meta.dirname },
    },
    rules: {
      // Fastify and our ports want functions that return a promise, whether they wait or not.
      '@typescript-eslint/require-await': 'off',
      '@typescript-eslint/no-confusing-void-expression': ['error', { ignoreArrowShorthand: true }],
      '@typescript-eslint/restrict-template-expressions': ['error', { allowNumber: true }],
      '@typescript-eslint/no-unused-vars': ['error', { argsIgnorePattern: '^_' }],
      '@typescript-eslint/consistent-type-imports': 'error',
      '@typescript-eslint/switch-exhaustiveness-check': [
        'error',
        { considerDefaultExhaustiveForUnions: true },
      ],
      '@typescript-eslint/only-throw-error': [
        'error',
        { allowRethrowing: true, allowThrowingUnknown: true, allowThrowingAny: false },
      ],
      // Ports are objects of functions that use no `this`.
      '@typescript-eslint/unbound-method': 'off',
      // `void promise()` in an arrow says that the promise is meant to be left alone.
      '@typescript-eslint/no-meaningless-void-operator': 'off',
      '@typescript-eslint/no-empty-function': 'off',
    },
  },
  {
    // What is loaded from a .proto file, or comes as JSON, has no types; users write it so.
    files: ['examples/doors/src/*.ts'],
    rules: Object.fromEntries(
      ['no-explicit-any', 'no-unsafe-assignment', 'no-unsafe-argument', 'no-unsafe-call']
        .concat(['no-unsafe-member-access', 'no-unsafe-return', 'no-misused-promises'])
        .concat(['only-throw-error', 'restrict-template-expressions'])
        .map((name) => [`@typescript-eslint/${name}`, 'off']),
    ),
  },
  {
    files: ['**/*.ts'],
    ignores: entryPoints,
    rules: {
      'no-restricted-properties': [
        'error',
        {
          object: 'process',
          property: 'env',
          message: 'The environment enters at main.ts, as an argument.',
        },
      ],
    },
  },
  {
    files: ['**/test/**/*.ts', 'tests/**/*.ts'],
    rules: {
      'no-restricted-properties': 'off',
      // Tests look into answers whose shape is what they test.
      '@typescript-eslint/no-non-null-assertion': 'off',
      '@typescript-eslint/no-unsafe-assignment': 'off',
    },
  },
);
