import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { parse as parseToml } from 'smol-toml';
import { parse as parseYaml } from 'yaml';

export const repository = fileURLToPath(new URL('..', import.meta.url));

export interface ComposeService {
  image: string;
  build?: { context: string; target: string; args: Record<string, string> };
  profiles?: string[];
  command?: string[];
  environment?: Record<string, string>;
  ports?: string[];
  volumes?: string[];
  group_add?: string[];
  networks: string[];
  secrets?: string[];
  depends_on?: Record<string, { condition: string }>;
  healthcheck?: { test: string[] };
  cap_drop?: string[];
  privileged?: boolean;
  container_name?: string;
  network_mode?: string;
}

export interface Compose {
  services: Record<string, ComposeService>;
  networks: Record<string, { internal?: boolean }>;
  volumes: Record<string, object>;
  secrets: Record<string, { file: string }>;
}

export interface TraefikConfig {
  http: {
    routers: Record<
      string,
      { rule: string; entryPoints: string[]; middlewares: string[]; service: string; tls: object }
    >;
    middlewares: Record<string, { headers: Record<string, unknown> }>;
    services: Record<string, { loadBalancer: { servers: { url: string }[] } }>;
  };
  tcp: {
    routers: Record<string, { rule: string; entryPoints: string[]; service: string }>;
    services: Record<string, { loadBalancer: { servers: { address: string }[] } }>;
  };
  tls: {
    certificates: { certFile: string; keyFile: string }[];
    stores: { default: { defaultCertificate: { certFile: string; keyFile: string } } };
    options: Record<string, { minVersion: string; cipherSuites: string[] }>;
  };
}

export interface ExampleSetting {
  name: string;
  value: string;
  /** The comment above it; a paragraph of settings shares one. */
  comment: string;
}

export function readText(path: string): string {
  return readFileSync(`${repository}/${path}`, 'utf8');
}

export function readCompose(): Compose {
  return parseYaml(readText('docker-compose.yaml'), { merge: true }) as Compose;
}

/** With the template filled in as Traefik does. */
export function readTraefikConfig(domain: string): TraefikConfig {
  const text = readText('traefik/configuration/config.toml');
  return parseToml(text.replaceAll('{{ env "DOMAIN" }}', domain)) as unknown as TraefikConfig;
}

export function readExampleSettings(): ExampleSetting[] {
  return readText('.env.example')
    .split(/\n{2,}/)
    .flatMap((paragraph) => {
      const lines = paragraph.split('\n').filter((line) => line !== '');
      const comment = lines.filter((line) => line.startsWith('#')).join('\n');
      return lines
        .filter((line) => !line.startsWith('#'))
        .map((line) => {
          const [name = '', value = ''] = line.split(/=(.*)/s);
          return { name, value, comment };
        });
    });
}

/** A .env as the comments of the example ask for it. */
export function filledSettings(): Record<string, string> {
  const settings = readExampleSettings().map(({ name, value }) => [name, value] as const);
  return {
    ...Object.fromEntries(settings),
    DOMAIN: 'inference.example.org',
    DOCKER_GID: '999',
  };
}
