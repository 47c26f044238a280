// What is asked of the packages that we stand on: each check takes the lock file and what security/ allows,
// and answers with problems, one a line; none is fine. They need neither a network nor node_modules.
import satisfies from 'spdx-satisfies';

/**
 * Every package comes from the registry by name and version, and is what it was when it was chosen; what we
 * ask for ourselves is one version.
 *
 * @returns {string[]}
 */
export function lockFileProblems({ lockfileVersion, packages }) {
  const entries = Object.entries(packages);
  return [
    ...(lockfileVersion === 3 ? [] : [`the lock file has version ${lockfileVersion}, not 3`]),
    ...entries.flatMap(([path, entry]) => entryProblems(path, entry, packages)),
    ...entries.flatMap(([path, entry]) => requestProblems(path, entry)),
  ];
}

/**
 * What would run at an installation is listed with the reason why it may stay, and nothing else is.
 *
 * @returns {string[]}
 */
export function installScriptProblems({ packages }, { installScripts }) {
  const there = Object.entries(packages)
    .filter(([, { hasInstallScript }]) => hasInstallScript === true)
    .map(([path]) => nameOf(path));
  const listed = installScripts.map(({ package: name }) => name);
  return [
    ...there
      .filter((name) => !listed.includes(name))
      .map((name) => `${name} has an install script, which nobody has justified`),
    ...listed
      .filter((name) => !there.includes(name))
      .map((name) => `${name} has no install script any more: take it off the list`),
    ...unexplained(installScripts),
  ];
}

/**
 * No package runs what it likes when it is installed: none is approved.
 *
 * @param {{ allowScripts?: object }} manifest
 * @returns {string[]}
 */
export function approvalProblems({ allowScripts = {} }) {
  return Object.entries(allowScripts)
    .filter(([, isAllowed]) => isAllowed !== false)
    .map(([name]) => `package.json approves the install script of ${name}`);
}

/**
 * Every licence is one of those that are allowed, or an exception for the very package.
 *
 * @returns {string[]}
 */
export function licenceProblems({ packages }, { licences: { allowed, exceptions } }) {
  const used = new Set();
  const problems = Object.entries(packages).flatMap(([path, { license = null, link }]) => {
    if (!isForeign(path) || link === true) return [];
    const name = nameOf(path);
    const exception = exceptions.find(
      ({ package: pattern, licence }) => licence === license && matches(name, pattern),
    );
    if (exception !== undefined) used.add(exception);
    if (exception !== undefined || (license !== null && isAllowed(license, allowed))) return [];
    return [`${name}: ${license === null ? 'names no licence' : `licence ${license}`}`];
  });
  const unused = exceptions.filter((exception) => !used.has(exception));
  return [
    ...new Set(problems),
    ...unused.map(({ package: name }) => `no package needs the exception for ${name} any more`),
    ...unexplained(exceptions),
  ];
}

/**
 * Every advisory that `npm audit` tells of is allowed, for a reason and not for ever.
 *
 * @param {{ vulnerabilities: Record<string, { via: (string | { source: number, url?: string, name: string, severity: string, title: string })[] }> }} report
 * @param {{ allowed: { advisory: string, why: string, until: string }[] }} list
 * @param {string} today as in 2026-11-22
 * @returns {string[]}
 */
export function auditProblems({ vulnerabilities }, { allowed }, today) {
  const found = new Map();
  for (const { via } of Object.values(vulnerabilities)) {
    // A name leads to another entry, which has the advisory itself.
    for (const cause of via.filter((each) => typeof each !== 'string')) {
      found.set(cause.url?.split('/').at(-1) ?? String(cause.source), cause);
    }
  }
  const current = allowed.filter(({ until }) => until >= today).map(({ advisory }) => advisory);
  return [
    ...[...found]
      .filter(([advisory]) => !current.includes(advisory))
      .map(([id, { name, severity, title }]) => `${id}: ${name}, ${severity}: ${title}`),
    ...allowed
      .filter(({ until }) => !/^\d{4}-\d{2}-\d{2}$/.test(until) || until < today)
      .map(({ advisory, until }) => `${advisory} was allowed until ${until}`),
    ...allowed
      .filter(({ advisory }) => !found.has(advisory))
      .map(({ advisory }) => `${advisory} is not found any more: take it off the list`),
    ...unexplained(allowed.map(({ advisory, why }) => ({ package: advisory, why }))),
  ];
}

function entryProblems(path, { version, resolved, integrity, link, inBundle, ...entry }, packages) {
  if (!isForeign(path)) return [];
  if (link === true) {
    return resolved in packages && !isForeign(resolved)
      ? []
      : [`${path} is a link to ${resolved}, which is none of our packages`];
  }
  const problems = [];
  if (resolved !== undefined) problems.push(`${path} is not fetched by name and version`);
  if (!exactVersion.test(version ?? '')) problems.push(`${path} has no exact version`);
  if (inBundle === true) problems.push(`${path} comes inside of another package`);
  if (!/^sha512-[A-Za-z0-9+/]{86}==$/.test(integrity ?? '') && !isForOthers(entry)) {
    problems.push(`${path} has no SHA-512 to be held against`);
  }
  return problems;
}

/** What a package asks for: by a version in the registry, never by the address of a repository or file. */
function requestProblems(path, entry) {
  const kinds = ['dependencies', 'optionalDependencies', 'peerDependencies', 'devDependencies'];
  // What a foreign package needs for its own development is not installed.
  const asked = isForeign(path) ? kinds.slice(0, 3) : kinds;
  return asked
    .flatMap((kind) => Object.entries(entry[kind] ?? {}))
    .filter(([, range]) =>
      isForeign(path)
        ? /[:/]/.test(range.replace(/^npm:(@[^/]+\/)?/, ''))
        : !exactVersion.test(range),
    )
    .map(([name, range]) => `${path || 'package.json'} asks for ${name} as ${range}`);
}

const exactVersion = /^\d+\.\d+\.\d+(-[\w.-]+)?(\+[\w.-]+)?$/;

/** Optional, and for a platform that the server does not run on: npm never fetches it there. */
function isForOthers({ optional, os = ['linux'], cpu = ['x64'] }) {
  return (
    optional === true &&
    !(os.includes('linux') && ['x64', 'arm64'].some((own) => cpu.includes(own)))
  );
}

function isForeign(path) {
  return path.includes('node_modules/');
}

function nameOf(path) {
  return path.split('node_modules/').at(-1);
}

function matches(name, pattern) {
  return pattern.endsWith('*') ? name.startsWith(pattern.slice(0, -1)) : name === pattern;
}

/** What is no expression of SPDX is allowed to nobody. */
function isAllowed(licence, allowed) {
  try {
    return satisfies(licence, allowed);
  } catch {
    return false;
  }
}

function unexplained(entries) {
  return entries
    .filter(({ why = '' }) => why.length < 20)
    .map(({ package: name }) => `${name} is on the list without a reason`);
}
