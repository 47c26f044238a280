import { writeFile } from 'node:fs/promises';
import { createServer, type RequestListener } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { freePort, testFolder } from '@inference-server/testing';
import { auditProblems } from '../scripts/dependency-checks.mjs';
import { createSbom } from '../scripts/create-sbom.mjs';
import { npmAudit } from '../scripts/npm-audit.mjs';

const integrity = `sha512-${'A'.repeat(86)}==`;
const manifest = { name: 'x', version: '1.0.0', dependencies: { a: '1.2.3' } };
const installed = { version: '1.2.3', integrity, license: 'MIT' };
const bulk = '/-/npm/v1/security/advisories/bulk';

/** A folder with a lock file that names one package. */
async function project(name = 'x'): Promise<string> {
  const folder = await testFolder();
  const root = { ...manifest, name };
  const packages = { '': root, 'node_modules/a': installed };
  const lock = { name, version: '1.0.0', lockfileVersion: 3, requires: true, packages };
  await writeFile(join(folder, 'package.json'), JSON.stringify(root));
  await writeFile(join(folder, 'package-lock.json'), JSON.stringify(lock));
  return folder;
}

/** A registry, as far as npm asks for one here. */
async function startRegistry(listener: RequestListener): Promise<string> {
  const server = createServer(listener);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
}

const audit = async (registry: string) =>
  npmAudit({ folder: await project(), registry, signal: AbortSignal.timeout(25_000) });

describe('npm audit', () => {
  it('tells of what a registry knows, which is refused', async () => {
    const advisory = {
      id: 7,
      url: 'https://example.org/advisories/GHSA-aaaa-bbbb-cccc',
      title: 'Reads too much',
      severity: 'high',
      vulnerable_versions: '<2.0.0',
      cwe: [],
      cvss: { score: 0, vectorString: null },
    };
    const registry = await startRegistry((request, response) => {
      response.setHeader('content-type', 'application/json');
      const versions = { '1.2.3': { name: 'a', version: '1.2.3', dist: {} } };
      if (request.url === bulk) response.end(JSON.stringify({ a: [advisory] }));
      else response.end(JSON.stringify({ name: 'a', 'dist-tags': { latest: '1.2.3' }, versions }));
    });
    const { report } = (await audit(registry)) as { report: Parameters<typeof auditProblems>[0] };
    expect(auditProblems(report, { allowed: [] }, '2026-11-22')).toEqual([
      'GHSA-aaaa-bbbb-cccc: a, high: Reads too much',
    ]);
  });

  it('tells of a registry that knows nothing', async () => {
    const registry = await startRegistry((_request, response) => {
      response.setHeader('content-type', 'application/json').end('{}');
    });
    expect(await audit(registry)).toMatchObject({ report: { vulnerabilities: {} } });
  });

  it.each([404, 405, 501])('is not checked where the registry answers %i', async (status) => {
    const registry = await startRegistry((_request, response) => response.writeHead(status).end());
    expect(await audit(registry)).toEqual({
      notChecked: `the registry answers no audits (${status})`,
    });
  });

  it('is not checked where the registry is broken or away, whose address is not told', async () => {
    const broken = await startRegistry((_request, response) => response.writeHead(500).end());
    const away = `http://127.0.0.1:${await freePort()}/`;
    for (const [registry, code] of [
      [broken, '500'],
      [away, 'ECONNREFUSED'],
    ] as const) {
      const { notChecked } = (await audit(registry)) as { notChecked: string };
      expect(notChecked).toBe(`the registry could not be asked (${code})`);
    }
  });
});

describe('the bill of materials', () => {
  it('names every package with its version, digest and licence', async () => {
    const { bomFormat, components } = await createSbom(await project());
    expect(bomFormat).toBe('CycloneDX');
    expect(components).toHaveLength(1);
    expect(components[0]).toMatchObject({
      purl: 'pkg:npm/a@1.2.3',
      hashes: [{ alg: 'SHA-512' }],
      licenses: [{ license: { id: 'MIT' } }],
    });
  });

  it('is the same wherever and whenever it is made, and another for another lock file', async () => {
    const [one, same, other] = await Promise.all(
      [await project(), await project(), await project('y')].map(createSbom),
    );
    expect(same).toEqual(one);
    expect(other?.serialNumber).not.toBe(one?.serialNumber);
    expect(one?.serialNumber).toMatch(/^urn:uuid:[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/);
    expect(one?.metadata).not.toHaveProperty('timestamp');
  });
});
