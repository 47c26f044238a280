import { execFile } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { copyFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';
import { testFolder } from '@inference-server/testing';
import {
  filledSettings,
  readCompose,
  readExampleSettings,
  readText,
  readTraefikConfig,
  repository,
} from './deployment-files.js';

const compose = readCompose();
const { services, networks } = compose;
const consumers = ['job-consumer', 'job-consumer-gpu'];
const apps = ['public-api', 'private-api', 'rpc-gateway', ...consumers];
const socket = '/var/run/docker.sock';

describe('docker-compose.yaml', () => {
  it('has the services of the architecture, the GPU consumer by profile', () => {
    expect(Object.keys(services).toSorted()).toEqual(
      [...apps, 'postgres', 'redis', 'traefik'].toSorted(),
    );
    for (const [name, { profiles }] of Object.entries(services)) {
      expect(profiles, name).toEqual(name === 'job-consumer-gpu' ? ['gpu'] : undefined);
    }
  });

  it('publishes the ports of traefik alone', () => {
    for (const [name, { ports, network_mode }] of Object.entries(services)) {
      expect(network_mode, name).toBeUndefined();
      const inside = ports?.map((port) => port.split(':').at(-1));
      expect(inside, name).toEqual(name === 'traefik' ? ['80', '443', '8500', '4242'] : undefined);
    }
  });

  it('lets each service reach only what it needs', () => {
    const reachable = (name: string) =>
      Object.keys(services)
        .filter((other) => other !== name)
        .filter((other) =>
          services[other]?.networks.some((network) => services[name]?.networks.includes(network)),
        )
        .toSorted();
    expect(reachable('traefik')).toEqual(['public-api', 'rpc-gateway']);
    expect(reachable('postgres')).toEqual(['private-api']);
    expect(reachable('redis')).toEqual([...consumers, 'private-api', 'public-api']);
    const behind = [...consumers, 'private-api', 'redis', 'rpc-gateway', 'traefik'];
    expect(reachable('public-api')).toEqual(behind);
    expect(reachable('rpc-gateway')).toEqual([
      ...consumers,
      'private-api',
      'public-api',
      'traefik',
    ]);

    for (const [name, { networks: joined }] of Object.entries(services)) {
      const open = joined.filter((network) => networks[network]?.internal !== true);
      expect(open, name).toEqual(name === 'traefik' ? ['outside'] : []);
      expect(Object.keys(networks), name).toEqual(expect.arrayContaining(joined));
    }
  });

  it('gives the engine’s socket to the consumers alone, and privileges to nobody', () => {
    for (const [name, service] of Object.entries(services)) {
      const mounts = service.volumes?.some((volume) => volume.includes(socket)) ?? false;
      expect(mounts, name).toBe(consumers.includes(name));
      expect(service.environment?.['DOCKER_HOST'] !== undefined, name).toBe(mounts);
      expect(service.group_add !== undefined, name).toBe(mounts);
      // Nor a folder that it lies in.
      const sources = service.volumes?.map((volume) => volume.split(':')[0] ?? '') ?? [];
      for (const source of sources) {
        expect(source, name).toMatch(/^(?:[a-z-]+|\.\/traefik\/.*|\$\{DOCKER_SOCKET)$/);
      }
      expect(service.privileged, name).toBeUndefined();
      if (apps.includes(name)) expect(service.cap_drop, name).toEqual(['ALL']);
    }
  });

  it('keeps what must last in named volumes', () => {
    const named = (name: string) =>
      (services[name]?.volumes ?? []).filter((volume) => /^[a-z-]+:/.test(volume));
    expect(named('postgres')).toEqual(['postgres:/var/lib/postgresql']);
    expect(named('redis')).toEqual(['redis:/data']);
    expect(named('private-api')).toEqual([
      'blobs:/var/lib/inference-server/blobs',
      'private-api-data:/var/lib/inference-server/data',
      'logs:/var/lib/inference-server/logs',
    ]);
    for (const name of apps) {
      expect(named(name), name).toContain('logs:/var/lib/inference-server/logs');
    }
    const used = Object.keys(services).flatMap(named);
    const names = new Set(used.map((volume) => volume.split(':')[0] ?? ''));
    expect([...names].toSorted()).toEqual(Object.keys(compose.volumes).toSorted());
  });

  it('waits for what a service needs to be healthy', () => {
    const needs = Object.fromEntries(
      Object.entries(services).map(([name, { depends_on }]) => [
        name,
        Object.keys(depends_on ?? {}),
      ]),
    );
    expect(needs).toEqual({
      traefik: ['public-api', 'rpc-gateway'],
      'public-api': ['private-api'],
      'rpc-gateway': ['private-api'],
      'private-api': ['postgres', 'redis'],
      'job-consumer': ['private-api', 'redis'],
      'job-consumer-gpu': ['private-api', 'redis'],
      redis: [],
      postgres: [],
    });
    for (const [name, { depends_on }] of Object.entries(services)) {
      for (const [needed, { condition }] of Object.entries(depends_on ?? {})) {
        expect(condition, name).toBe('service_healthy');
        expect(services[needed]?.healthcheck, needed).toBeDefined();
      }
    }
  });

  it('promises no more of the host than there is, and all of it where no profile is chosen', () => {
    const shares = consumers.map((name) => {
      const given = services[name]?.environment?.['HOST_SHARE'] ?? '';
      return Number(/^\$\{[A-Z_]+:-([0-9.]+)\}$/.exec(given)?.[1]);
    });
    // The settings must divide it before the second starts: a consumer refuses 0.
    expect(shares).toEqual([1, 0]);
  });

  it('has replicas reached by the consumers themselves, and by the gateway under the name that it has', () => {
    const name = services['rpc-gateway']?.container_name;
    expect(name).toBe('${RPC_GATEWAY_CONTAINER:-inference-server-rpc-gateway}');
    for (const consumer of consumers) {
      // Who asks a replica whether it serves is in a container, too: outside of its network but for that.
      expect(services[consumer]?.environment?.['GATEWAY_CONTAINERS'], consumer).toBe(
        `self,${name}`,
      );
    }
  });

  it('asks each service for its health at the port that it listens on', () => {
    for (const [name, setting] of [
      ['public-api', 'PORT'],
      ['private-api', 'PORT'],
      ['rpc-gateway', 'HTTP_PORT'],
    ] as const) {
      const { environment, healthcheck } = services[name] ?? {};
      expect(healthcheck?.test.join(' ')).toContain(
        `http://127.0.0.1:${environment?.[setting]}/healthz`,
      );
    }
  });

  it('keeps anonymous callers out and Redis whole', () => {
    expect(services['public-api']?.environment?.['ANONYMOUS_ROLE']).toBe('none');
    expect(services['rpc-gateway']?.environment?.['ANONYMOUS_ROLE']).toBe('none');
    const redis = services['redis']?.command?.join(' ');
    expect(redis).toContain('--appendonly yes --maxmemory-policy noeviction');
  });

  it('sets only settings that the apps know, and all services agree', () => {
    for (const name of apps) {
      const app = name.replace('-gpu', '');
      const sources = readdirSync(join(repository, 'apps', app, 'src'))
        .filter((file) => ['main.ts', 'config.ts'].includes(file))
        .map((file) => readText(`apps/${app}/src/${file}`))
        .concat(readText('packages/service-kit/src/log-files.ts'))
        .join();
      for (const given of Object.keys(services[name]?.environment ?? {})) {
        const setting = given.replace(/_FILE$/, '');
        expect(sources, `${setting} of ${name}`).toMatch(new RegExp(`\\b${setting}\\b`));
      }
    }
    const all = (setting: string) =>
      new Set(apps.map((name) => services[name]?.environment?.[setting]).filter(Boolean));
    const common = ['PRIVATE_API_URL', 'REDIS_URL', 'QUEUE_PREFIX'];
    for (const setting of common) {
      expect(all(setting).size, setting).toBe(1);
    }
  });

  const command = '/usr/bin/docker-compose';
  it.skipIf(!existsSync(command))('is accepted by docker-compose 1.29', async () => {
    const folder = await testFolder();
    await copyFile(join(repository, 'docker-compose.yaml'), join(folder, 'docker-compose.yaml'));
    const config = async (settings: Record<string, string>) => {
      const lines = Object.entries(settings).map(([name, value]) => `${name}=${value}\n`);
      await writeFile(join(folder, '.env'), lines.join(''));
      return promisify(execFile)(command, ['config'], {
        cwd: folder,
        env: { PATH: '/usr/bin:/bin' },
        timeout: 20_000,
      });
    };
    const settings = filledSettings();
    const { stdout } = await config(settings);
    expect(stdout).toContain(`DOMAIN: ${settings['DOMAIN']}`);
    expect(stdout).toContain(`file: ${join(folder, 'secrets', 'redis_password')}`);
    const example = readExampleSettings().map(({ name, value }) => [name, value]);
    await expect(config(Object.fromEntries(example) as Record<string, string>)).rejects.toThrow(
      /set DOCKER_GID in .env/,
    );
  });
});

describe('.env.example', () => {
  const examples = readExampleSettings();
  const used = [
    ...readText('docker-compose.yaml').matchAll(/\$\{([A-Z][A-Z0-9_]*)(?::([-?])([^}]*))?\}/g),
  ];

  it('explains every setting that the compose file reads, and no other', () => {
    const names = new Set(used.map(([, name]) => name));
    expect(examples.map(({ name }) => name).toSorted()).toEqual([...names].toSorted());
    for (const { name, comment } of examples) expect(comment.length, name).toBeGreaterThan(20);
  });

  it('shows the defaults of the compose file', () => {
    for (const [, name, kind, fallback] of used) {
      const example = examples.find((setting) => setting.name === name);
      if (kind === '-') expect(example?.value, name).toBe(fallback);
      else expect(kind, name).toBe('?');
    }
  });
});

describe('Dockerfile', () => {
  const dockerfile = readText('Dockerfile');
  const stages = new Map(
    [...dockerfile.matchAll(/^FROM (\S+) AS (\S+)\n([^]*?)(?=^FROM |$(?![^]))/gm)].map(
      ([, base = '', name = '', lines = '']) => [name, { base, lines }],
    ),
  );

  it('has a target for each image that the compose file builds', () => {
    for (const name of apps) {
      const { build, image } = services[name] ?? {};
      expect(image, name).toMatch(/^\$\{[A-Z_]+_IMAGE:-inference-server\/[a-z-]+:latest\}$/);
      expect(build?.context, name).toBe('.');
      expect(build?.args, name).toEqual({ BASE_IMAGE: '${BASE_IMAGE:-node:24-slim}' });
      expect(stages.get(build?.target ?? '')?.base, name).toBe('service');
    }
  });

  it('runs services as a user that is not root, from a base that can be chosen', () => {
    expect(dockerfile).toMatch(/^ARG BASE_IMAGE=node:24-slim$/m);
    expect(stages.get('service')?.lines).toMatch(/^USER 1000:1000$/m);
    for (const [name, { base, lines }] of stages) {
      expect(base === '${BASE_IMAGE}' || stages.has(base), name).toBe(true);
      if (name !== 'service') expect(lines, name).not.toMatch(/^USER /m);
    }
  });

  it('starts and copies what is there', () => {
    const started = [...dockerfile.matchAll(/node (apps\/\S+?)\/dist\/(\w+)\.js/g)];
    expect(started.length).toBeGreaterThan(0);
    for (const [, app, file] of started) {
      expect(existsSync(join(repository, `${app}/src/${file}.ts`)), `${app} ${file}`).toBe(true);
    }
    for (const [, path = ''] of dockerfile.matchAll(/^COPY --from=\S+ \/app\/(\S+) /gm)) {
      expect(existsSync(join(repository, path)), path).toBe(true);
    }
  });
});

describe('config.toml of Traefik', () => {
  const domain = 'inference.example.org';
  const { http, tcp, tls } = readTraefikConfig(domain);
  const traefik = services['traefik'];
  const flags = traefik?.command ?? [];

  it('leads the domain to public-api, and calls of gRPC to rpc-gateway, over TLS only', () => {
    const ways = Object.entries(http.routers).map(([name, { entryPoints }]) => [name, entryPoints]);
    expect(ways).toEqual([
      ['public-api', ['websecure']],
      ['rpc-gateway', ['grpc']],
    ]);
    for (const { rule, service, tls: options } of Object.values(http.routers)) {
      expect(rule).toBe(`Host(\`${domain}\`)`);
      expect(options).toEqual({ options: 'modern' });
      expect(http.services).toHaveProperty(service);
    }
    expect(traefik?.environment?.['DOMAIN']).toMatch(/^\$\{DOMAIN:\?/);
    expect(flags).toContain('--entryPoints.websecure.address=:443');
    expect(flags).toContain('--entryPoints.grpc.address=:8500');
  });

  it('leads ZeroRPC to rpc-gateway as it comes, and from this host alone', () => {
    expect(tcp.routers).toEqual({
      zerorpc: { rule: 'HostSNI(`*`)', entryPoints: ['zerorpc'], service: 'zerorpc' },
    });
    const port = services['rpc-gateway']?.environment?.['ZERORPC_PORT'];
    const servers = [{ address: `rpc-gateway:${port}` }];
    expect(tcp.services).toEqual({ zerorpc: { loadBalancer: { servers } } });
    expect(flags).toContain(`--entryPoints.zerorpc.address=:${port}`);
    expect(traefik?.ports).toContain(`\${ZERORPC_HOST:-127.0.0.1}:\${ZERORPC_PORT:-4242}:${port}`);
  });

  it('leads HTTP to HTTPS for ever, and says so to browsers for a year', () => {
    const redirection = '--entryPoints.web.http.redirections.entryPoint';
    for (const how of ['to=websecure', 'scheme=https', 'permanent=true']) {
      expect(flags).toContain(`${redirection}.${how}`);
    }
    expect(http.routers['public-api']?.middlewares).toEqual(['strict-transport']);
    expect(http.middlewares['strict-transport']?.headers).toEqual({ stsSeconds: 365 * 24 * 3600 });
  });

  it('speaks TLS 1.2 with forward secrecy and sealed records, or newer', async () => {
    expect(Object.keys(tls.options)).toEqual(['modern']);
    const { minVersion, cipherSuites } = tls.options['modern']!;
    expect(minVersion).toBe('VersionTLS12');
    const { stdout } = await promisify(execFile)('openssl', ['ciphers', '-stdname', '-v', 'ALL']);
    const known = new Map(stdout.split('\n').map((line) => [line.split(' ')[0], line]));
    expect(cipherSuites.length).toBeGreaterThan(3);
    for (const suite of cipherSuites) {
      expect(known.get(suite), suite).toMatch(/ TLSv1\.2 +Kx=ECDH +Au=(ECDSA|RSA) .* Mac=AEAD$/);
    }
  });

  it('names services and ports of the compose file', () => {
    for (const { loadBalancer } of Object.values(http.services)) {
      for (const { url } of loadBalancer.servers) {
        const [, protocol, name = '', port] = /^(\w+):\/\/([a-z-]+):(\d+)$/.exec(url) ?? [];
        const isGrpc = protocol === 'h2c';
        const { environment } = services[name] ?? {};
        expect(environment?.[isGrpc ? 'GRPC_PORT' : 'PORT'], url).toBe(port);
      }
    }
  });

  it('is where traefik looks for it, and so are the certificate and key', () => {
    const mounts = (traefik?.volumes ?? []).map((volume) => volume.split(':'));
    const at = (path: string) => mounts.find(([, inside]) => inside === path)?.[0];
    const file = flags.find((flag) => flag.startsWith('--providers.file.filename='));
    expect(at(file?.split('=')[1] ?? '')).toBe('./traefik/configuration/config.toml');
    expect(at('/etc/traefik/certs')).toBe('./traefik/certs');
    const pair = { certFile: '/etc/traefik/certs/cert.pem', keyFile: '/etc/traefik/certs/key.pem' };
    expect(tls.certificates).toEqual([pair]);
    expect(tls.stores.default.defaultCertificate).toEqual(pair);
  });

  it('leaves long uploads alone', () => {
    for (const name of ['websecure', 'grpc', 'zerorpc']) {
      expect(flags).toContain(`--entryPoints.${name}.transport.respondingTimeouts.readTimeout=0`);
    }
  });
});
