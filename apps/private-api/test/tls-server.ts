import { execFile } from 'node:child_process';
import { readFile, writeFile } from 'node:fs/promises';
import type { RequestListener } from 'node:http';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { testFolder } from '@inference-server/testing';

const openssl = (...parameters: string[]) => promisify(execFile)('openssl', parameters);

/** A server with a certificate for localhost and the addresses of this machine, of an authority of its own. */
export async function startTlsServer(answer: RequestListener) {
  const folder = await testFolder();
  const at = (name: string) => join(folder, name);
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-noenc'];
  const [ca, caKey] = [at('ca.pem'), at('ca.key')];
  const authority = ['-subj', '/CN=lab', '-addext', 'basicConstraints=critical,CA:TRUE'];
  await openssl('req', '-x509', ...key, '-keyout', caKey, '-out', ca, '-days', '2', ...authority);
  const request = ['-keyout', at('key.pem'), '-out', at('request.pem'), '-subj', '/CN=localhost'];
  await openssl('req', ...key, ...request);
  await writeFile(at('names'), 'subjectAltName=DNS:localhost,IP:127.0.0.1,IP:::1');
  const signed = ['-in', at('request.pem'), '-out', at('cert.pem'), '-extfile', at('names')];
  await openssl(
    'x509',
    '-req',
    '-CA',
    ca,
    '-CAkey',
    caKey,
    '-CAcreateserial',
    '-days',
    '2',
    ...signed,
  );
  const [keyText, cert] = [await readFile(at('key.pem')), await readFile(at('cert.pem'))];
  const server = createServer({ key: keyText, cert }, answer);
  await new Promise<void>((resolve) => server.listen(0, 'localhost', resolve));
  const { port } = server.address() as AddressInfo;
  return {
    caFile: ca,
    host: `localhost:${port}`,
    port,
    close: () =>
      new Promise<void>((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}
