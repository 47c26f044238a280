import { describe, expect, it } from 'vitest';
import {
  approvalProblems,
  auditProblems,
  installScriptProblems,
  licenceProblems,
  lockFileProblems,
} from '../scripts/dependency-checks.mjs';
import { readText } from './deployment-files.js';

const read = (path: string): unknown => JSON.parse(readText(path));
const lock = read('package-lock.json') as { lockfileVersion: number; packages: object };
const lists = read('security/dependencies.json') as {
  installScripts: object[];
  licences: { allowed: string[]; exceptions: object[] };
};

describe('the packages that this tree stands on', () => {
  it('come from the registry by name and version, with a digest', () => {
    expect(lockFileProblems(lock)).toEqual([]);
  });

  it('run nothing when they are installed; who would is justified', () => {
    expect(installScriptProblems(lock, lists)).toEqual([]);
    expect(approvalProblems(read('package.json') as { allowScripts?: object })).toEqual([]);
    expect(readText('scripts/setup.mjs')).toMatch(/'ci', '--ignore-scripts'/);
    for (const [line] of readText('Dockerfile').matchAll(/npm ci.*/g)) {
      expect(line).toContain('--ignore-scripts');
    }
  });

  it('are in the images only as far as a service needs them to run', () => {
    const dockerfile = readText('Dockerfile');
    expect(dockerfile.match(/npm ci .*-w apps\//g)).toHaveLength(4);
    for (const [line] of dockerfile.matchAll(/npm ci .*-w apps\/.*/g)) {
      // Without the second one npm keeps what is for development or optional.
      expect(line).toContain('--omit=dev --omit=optional');
    }
  });

  it('have licences that are allowed, or an exception each', () => {
    expect(licenceProblems(lock, lists)).toEqual([]);
  });
});

const integrity = `sha512-${'A'.repeat(86)}==`;
const good = { version: '1.2.3', integrity, license: 'MIT' };
const lockOf = (entry: object, path = 'node_modules/a') => ({
  lockfileVersion: 3,
  packages: { '': { dependencies: { a: '1.2.3' } }, 'packages/own': {}, [path]: entry },
});
const why = 'A reason that says why.';

describe('the check of the lock file', () => {
  it.each([
    good,
    { ...good, version: '1.0.0-beta.1+build.2', dependencies: { b: '^1.0.0 || 2.x', c: '*' } },
    { ...good, dependencies: { b: 'npm:@scope/other@^1.0.0' } },
    { resolved: 'packages/own', link: true },
    { version: '1.2.3', optional: true, os: ['darwin'], cpu: ['arm64'] },
    { version: '1.2.3', optional: true, cpu: ['ia32'] },
  ])('accepts %j', (entry) => {
    expect(lockFileProblems(lockOf(entry))).toEqual([]);
  });

  it.each([
    [{ ...good, integrity: undefined }, 'no SHA-512'],
    [{ ...good, integrity: 'sha1-2jmj7l5rSw0yVb/vlWAYkK/YBwk=' }, 'no SHA-512'],
    [{ version: '1.2.3', optional: true, os: ['linux'], cpu: ['arm64'] }, 'no SHA-512'],
    [{ version: '1.2.3', os: ['darwin'], cpu: ['x64'] }, 'no SHA-512'],
    [{ ...good, resolved: 'git+ssh://git@example.org/a.git#0a1b' }, 'not fetched by name'],
    [{ ...good, resolved: 'https://example.org/a.tgz' }, 'not fetched by name'],
    [{ ...good, resolved: 'file:../a.tgz' }, 'not fetched by name'],
    [{ ...good, version: 'https://example.org/a.tgz' }, 'no exact version'],
    [{ ...good, inBundle: true }, 'inside of another'],
    [{ resolved: '../elsewhere', link: true }, 'none of our packages'],
    [{ ...good, dependencies: { b: 'git+https://example.org/b.git' } }, 'asks for b'],
    [{ ...good, optionalDependencies: { b: 'someone/b' } }, 'asks for b'],
    [{ ...good, dependencies: { b: 'npm:https://example.org/b.tgz' } }, 'asks for b'],
  ])('refuses %j', (entry, problem) => {
    expect(lockFileProblems(lockOf(entry)).join()).toContain(problem);
  });

  it('refuses a version of ours that is a range, and another form of the file', () => {
    const packages = { 'packages/own': { devDependencies: { a: '^1.2.3' } } };
    expect(lockFileProblems({ lockfileVersion: 3, packages })).toEqual([
      'packages/own asks for a as ^1.2.3',
    ]);
    expect(lockFileProblems({ lockfileVersion: 1, packages: {} })).toHaveLength(1);
  });
});

describe('the check of install scripts', () => {
  const withScript = lockOf(
    { ...good, hasInstallScript: true },
    'node_modules/b/node_modules/@c/a',
  );

  it('accepts what is justified, and nothing else', () => {
    const justified = { installScripts: [{ package: '@c/a', why }] };
    expect(installScriptProblems(withScript, justified)).toEqual([]);
    expect(installScriptProblems(withScript, { installScripts: [] })).toEqual([
      '@c/a has an install script, which nobody has justified',
    ]);
    expect(installScriptProblems(lockOf(good), justified).join()).toContain(
      'no install script any',
    );
    const silent = { installScripts: [{ package: '@c/a', why: 'yes' }] };
    expect(installScriptProblems(withScript, silent).join()).toContain('without a reason');
  });

  it('refuses an approval', () => {
    expect(approvalProblems({ allowScripts: { a: true, b: false, 'c@1': true } })).toEqual([
      'package.json approves the install script of a',
      'package.json approves the install script of c@1',
    ]);
  });
});

describe('the check of licences', () => {
  const allow = (exceptions: object[] = []) => ({
    licences: { allowed: ['MIT', 'ISC'], exceptions },
  });

  it.each(['MIT', '(MIT OR GPL-3.0-only)', '(MIT AND ISC)'])('accepts %s', (license) => {
    expect(licenceProblems(lockOf({ ...good, license }), allow())).toEqual([]);
  });

  it.each([
    'GPL-3.0-only',
    '(MIT AND GPL-3.0-only)',
    'MIT and ISC',
    'UNLICENSED',
    'SEE LICENSE IN x',
  ])('refuses %s, unless that very package is an exception', (license) => {
    const entry = lockOf({ ...good, license });
    expect(licenceProblems(entry, allow())).toEqual([`a: licence ${license}`]);
    const exception = { package: 'a', licence: license, why };
    expect(licenceProblems(entry, allow([exception]))).toEqual([]);
    expect(licenceProblems(entry, allow([{ ...exception, package: 'b' }]))).toHaveLength(2);
    expect(licenceProblems(entry, allow([{ ...exception, licence: 'X' }]))).toHaveLength(2);
    expect(licenceProblems(entry, allow([{ ...exception, why: '' }])).join()).toContain('reason');
  });

  it('refuses none at all, and an exception that nobody needs', () => {
    expect(licenceProblems(lockOf({ ...good, license: undefined }), allow())).toEqual([
      'a: names no licence',
    ]);
    const exceptions = [{ package: 'old-*', licence: 'X', why }];
    expect(licenceProblems(lockOf(good), allow(exceptions)).join()).toContain('old-*');
  });
});

describe('the check of advisories', () => {
  const advisory = 'GHSA-aaaa-bbbb-cccc';
  const cause = { source: 1, name: 'a', severity: 'high', title: 'Reads too much' };
  const url = `https://example.org/advisories/${advisory}`;
  const report = {
    vulnerabilities: { a: { via: [{ ...cause, url }] }, b: { via: ['a'] } },
  };
  const today = '2026-11-22';
  const problems = (...allowed: { advisory: string; why: string; until: string }[]) =>
    auditProblems(report, { allowed }, today);

  it('refuses what is not on the list, and what was for too long', () => {
    expect(problems()).toEqual([`${advisory}: a, high: Reads too much`]);
    expect(problems({ advisory, why, until: today })).toEqual([]);
    expect(problems({ advisory, why, until: '2026-11-21' })).toHaveLength(2);
    expect(problems({ advisory, why, until: 'never' }).join()).toContain('until never');
    expect(problems({ advisory, why: '', until: today }).join()).toContain('without a reason');
  });

  it('refuses an entry that nothing needs', () => {
    const entry = { advisory, why, until: today };
    expect(auditProblems({ vulnerabilities: {} }, { allowed: [entry] }, today)).toHaveLength(1);
    expect(auditProblems({ vulnerabilities: {} }, { allowed: [] }, today)).toEqual([]);
  });
});
