import { request } from 'node:http';
import { text } from 'node:stream/consumers';
import { dockerAddress } from '@inference-server/local-services';

/** What the engine answers to a GET, as text: for what the engine port does not tell. */
export async function askEngine(
  dockerHost: string,
  path: string,
  signal: AbortSignal,
): Promise<string> {
  const address = dockerAddress(dockerHost);
  if (address === undefined) throw new Error(`${dockerHost} has a form that is not spoken here`);
  return await new Promise((resolve, reject) => {
    const call = request({ ...address, path, agent: false, signal });
    call.setTimeout(30_000, () => call.destroy(new Error(`${path} was not answered`)));
    call.once('error', reject);
    call.once('response', (response) => void text(response).then(resolve, reject));
    call.end();
  });
}
