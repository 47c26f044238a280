import { execFile } from 'node:child_process';
import { X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { readdir, readFile, stat } from 'node:fs/promises';
import { createServer, get } from 'node:https';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';
import { testFolder } from '@inference-server/testing';
import { repository } from './deployment-files.js';

const run = promisify(execFile);
const script = join(repository, 'traefik/certs/generate_self_signed_certs');
const domain = 'inference.example.org';

describe('generate_self_signed_certs', () => {
  it('makes a certificate that openssl verifies for the domain', async () => {
    const folder = await testFolder();
    const { stdout } = await generate(domain, folder);
    expect(stdout).toContain(domain);
    expect((await readdir(folder)).toSorted()).toEqual(['cert.pem', 'key.pem']);
    expect((await stat(join(folder, 'key.pem'))).mode & 0o777).toBe(0o600);

    const cert = join(folder, 'cert.pem');
    const verify = (host: string) =>
      run('openssl', ['verify', '-x509_strict', '-CAfile', cert, '-verify_hostname', host, cert]);
    expect((await verify(domain)).stdout).toBe(`${cert}: OK\n`);
    await expect(verify('other.example.org')).rejects.toThrow(/hostname mismatch/i);
  });

  it('makes a pair that a server and its client agree on', async () => {
    const folder = await testFolder();
    await generate(domain, folder);
    const [cert, key] = await Promise.all(
      ['cert.pem', 'key.pem'].map((name) => readFile(join(folder, name))),
    );
    const server = createServer({ cert, key }, (_request, response) => response.end('hello'));
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    try {
      const { port } = server.address() as AddressInfo;
      const options = { port, host: '127.0.0.1', servername: domain, ca: cert, agent: false };
      const request = get({ ...options, signal: AbortSignal.timeout(5_000) });
      const [response] = (await once(request, 'response')) as [NodeJS.ReadableStream];
      response.resume();
      await once(response, 'end');
    } finally {
      server.close();
      server.closeAllConnections();
    }
  });

  it('replaces an older pair', async () => {
    const folder = await testFolder();
    await generate('old.example.org', folder);
    await generate(domain, folder);
    const certificate = new X509Certificate(await readFile(join(folder, 'cert.pem')));
    expect(certificate.subjectAltName).toBe(`DNS:${domain}`);
    expect((await readdir(folder)).toSorted()).toEqual(['cert.pem', 'key.pem']);
  });

  it('takes long names and localhost', async () => {
    const folder = await testFolder();
    const long = `${'a'.repeat(63)}.${'b'.repeat(63)}.example.org`;
    for (const name of [long, 'localhost']) {
      await generate(name, folder);
      const certificate = new X509Certificate(await readFile(join(folder, 'cert.pem')));
      expect(certificate.subjectAltName).toBe(`DNS:${name}`);
    }
  });

  it.each(['', 'a b', '-a', 'a..b', '*.a.org', '../a', 'a,DNS:b', 'a\nb', '10.0.0.1', 'a_b'])(
    'refuses %j and writes nothing',
    async (name) => {
      const folder = await testFolder();
      await expect(generate(name, folder)).rejects.toMatchObject({
        code: 2,
        stderr: expect.stringMatching(/not a domain name/i) as string,
      });
      expect(await readdir(folder)).toEqual([]);
    },
  );

  it('tells how it is used', async () => {
    await expect(run(script, [])).rejects.toMatchObject({
      code: 2,
      stderr: expect.stringMatching(/^Usage: generate_self_signed_certs DOMAIN/) as string,
    });
  });
});

async function generate(name: string, folder: string) {
  return run(script, [name, folder], { timeout: 20_000 });
}
