import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { request } from 'node:http';
import { delimiter, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { libfaketime } from './libfaketime.mjs';
import { runCommand } from './run-command.mjs';

export const repository = fileURLToPath(new URL('..', import.meta.url));

/** A machine that cannot be used as it is; the message says what to do. */
export class SetupProblem extends Error {}

/**
 * Brings a bare machine to where `npm start`, `npm test` and the like can run: checks node,
 * installs the npm packages of the lock file, and installs system packages that are missing, when
 * this user may and INSTALL_PACKAGES is not `no`; otherwise throws a SetupProblem with the command to
 * run.
 *
 * @param {{ purpose: 'start' | 'test' | 'bench' | 'faults', signal: AbortSignal }} options
 */
export async function setUp({ purpose, signal }) {
  checkMachine();
  await installNpmPackages(signal);
  await installSystemPackages(purpose, signal);
}

function checkMachine() {
  const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
  if (major < 20 || (major === 20 && minor < 19)) {
    throw new SetupProblem(`Node 20.19 or newer is needed; this is ${process.versions.node}.`);
  }
  if (process.platform !== 'linux' || !['x64', 'arm64'].includes(process.arch)) {
    throw new SetupProblem(
      `Linux on x64 or arm64 is needed; this is ${process.platform} on ${process.arch}.`,
    );
  }
}

async function installNpmPackages(signal) {
  if (await npmPackagesAreInstalled()) return;
  console.log('Installing the npm packages …');
  const npm = process.env.npm_execpath;
  const [command, ...args] = npm === undefined ? ['npm'] : [process.execPath, npm];
  await runCommand(command, [...args, 'ci', '--ignore-scripts', '--no-audit', '--no-fund'], {
    cwd: repository,
    quiet: true,
    timeoutMs: 15 * 60_000,
    signal,
  });
}

/** Compares the lock file with the one that npm leaves in node_modules when it has finished. */
async function npmPackagesAreInstalled() {
  const wanted = await readLock('package-lock.json');
  const there = await readLock(join('node_modules', '.package-lock.json'));
  if (wanted === undefined || there === undefined) return false;
  return Object.entries(wanted).every(([path, { version, resolved, link, optional }]) => {
    if (!path.includes('node_modules/') || optional === true) return true;
    const found = there[path];
    return link === true ? found?.resolved === resolved : found?.version === version;
  });
}

async function readLock(path) {
  try {
    return JSON.parse(await readFile(join(repository, path), 'utf8')).packages;
  } catch {
    return undefined;
  }
}

async function installSystemPackages(purpose, signal) {
  const missing = await missingPackages(purpose);
  if (missing.length === 0) return;
  const names = missing.map(({ name }) => name);
  const install = ['install', '-y', '--no-install-recommends', ...names];
  const reasons = missing.map(({ name, reason }) => `  ${name}: ${reason}`).join('\n');
  const mayInstall = process.getuid?.() === 0 && isOnPath('apt-get');
  if (!mayInstall || process.env.INSTALL_PACKAGES === 'no') {
    throw new SetupProblem(
      `These packages of the system are missing:\n${reasons}\nInstall them (Debian, Ubuntu):\n` +
        `  sudo apt-get update && sudo apt-get ${install.join(' ')}\n` +
        'or give a docker engine by DOCKER_HOST and a Redis by REDIS_URL.',
    );
  }
  console.log(`Installing packages of the system:\n${reasons}`);
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
  const patience = ['-o', 'DPkg::Lock::Timeout=300'];
  const options = { env, quiet: true, timeoutMs: 15 * 60_000, signal };
  await runCommand('apt-get', [...patience, 'update'], options);
  await runCommand('apt-get', [...patience, ...install], options);
  await awaitSystemEngine(names, signal);
}

/** What a purpose needs of the system and this machine has not. */
async function missingPackages(purpose) {
  const needs = [];
  const need = (there, name, reason) => {
    if (!there) needs.push({ name, reason });
  };
  // The fault suite breaks what it stands on: all of it is its own.
  const isOwn = purpose === 'faults';
  if (isOwn && process.getuid?.() !== 0) {
    throw new SetupProblem('Only root can start and break the services of the fault suite.');
  }
  if (isOwn) {
    need(isOnPath('dockerd'), 'docker.io', 'runs the containers');
    need(isOnPath('iptables'), 'iptables', 'the docker engine looks for it');
    need(isOnPath('docker-registry'), 'docker-registry', 'has the images that are pulled');
    need(existsSync(libfaketime()), 'libfaketime', 'gives a process another clock');
  } else if (!(await engineAnswers())) {
    if ((process.env.DOCKER_HOST ?? '') !== '') {
      throw new SetupProblem(
        `No docker engine answers at ${dockerHost()}, which DOCKER_HOST names.`,
      );
    }
    if (process.getuid?.() !== 0) {
      throw new SetupProblem(
        `No docker engine answers at ${dockerHost()}, and only root can start one. Start the engine, ` +
          'become a member of its group, or set DOCKER_HOST.',
      );
    }
    need(isOnPath('dockerd'), 'docker.io', 'runs the containers');
    need(isOnPath('iptables'), 'iptables', 'the docker engine looks for it');
  }
  if (isOwn || purpose === 'bench' || (process.env.REDIS_URL ?? '') === '') {
    need(isOnPath('redis-server'), 'redis-server', 'carries the tickets of tasks');
  }
  need(existsSync('/bin/busybox'), 'busybox-static', 'the shell image of the copy example');
  if (purpose === 'bench') need(isOnPath('wrk'), 'wrk', 'the load of HTTP requests');
  if (purpose !== 'start') need(isOnPath('unzip'), 'unzip', 'a second opinion on zips');
  if (purpose === 'test' || isOwn) {
    need(isOnPath('strace'), 'strace', 'makes system calls of the fault suite fail');
  }
  if (purpose === 'test') {
    need(isOnPath('zip'), 'zip', 'a second opinion on zips');
    need(isOnPath('7z'), 'p7zip-full', 'a second opinion on zips');
    need(isOnPath('bsdtar'), 'libarchive-tools', 'a second opinion on zips');
    need(isOnPath('docker-compose'), 'docker-compose', 'reads the compose file');
    need(isOnPath('openssl'), 'openssl', 'the certificate script');
    need(isOnPath('docker-registry'), 'docker-registry', 'has the images that are pulled');
    need(isOnPath('curl'), 'curl', 'uploads as a user does them');
    need(existsSync('/usr/bin/chromium'), 'chromium', 'pages as a browser sees them');
    need(
      existsSync('/usr/lib/python3/dist-packages/requests'),
      'python3-requests',
      'uploads as a user does them',
    );
    const pythonHas = (name) => existsSync(`/usr/lib/python3/dist-packages/${name}`);
    const client = 'calls of runtime models as a user makes them';
    need(isOnPath('protoc'), 'protobuf-compiler', 'compiles our .proto files');
    need(isOnPath('grpc_python_plugin'), 'protobuf-compiler-grpc', client);
    need(pythonHas('google/protobuf'), 'python3-protobuf', 'a second opinion on messages');
    need(pythonHas('grpc'), 'python3-grpcio', client);
    need(pythonHas('zmq'), 'python3-zmq', client);
    need(pythonHas('msgpack'), 'python3-msgpack', client);
    // What starts it is beside the repository, or the test says that it is not there.
    if (existsSync(fileURLToPath(new URL('../../shared/tools/s3store.py', import.meta.url)))) {
      need(
        pythonHas('swift'),
        'python3-swift',
        'a store that the files of models are fetched from',
      );
    }
  }
  return needs;
}

/** Where systemd is in charge, the engine's package starts it. */
async function awaitSystemEngine(installed, signal) {
  if (!installed.includes('docker.io') || !existsSync('/run/systemd/system')) return;
  for (let tries = 0; tries < 60 && !(await engineAnswers()); tries += 1) {
    await sleep(500, undefined, { signal });
  }
}

function isOnPath(command) {
  const folders = (process.env.PATH ?? '').split(delimiter);
  return [...folders, '/usr/sbin', '/sbin'].some((folder) => existsSync(join(folder, command)));
}

function dockerHost() {
  const given = process.env.DOCKER_HOST ?? '';
  return given === '' ? 'unix:///var/run/docker.sock' : given;
}

/** Asks the engine itself. (The package that does this for the apps is not built yet here.) */
async function engineAnswers() {
  if (!URL.canParse(dockerHost())) return false;
  const url = new URL(dockerHost());
  const address =
    url.protocol === 'unix:'
      ? { socketPath: url.pathname }
      : { host: url.hostname, port: Number(url.port) };
  return await new Promise((resolve) => {
    const signal = AbortSignal.timeout(2_000);
    const call = request({ ...address, path: '/_ping', agent: false, signal });
    call.once('error', () => resolve(false));
    call.once('response', (response) => {
      response.resume();
      resolve(response.statusCode === 200 && response.headers['api-version'] !== undefined);
    });
    call.end();
  });
}
