import { request } from 'node:http';
import { text } from 'node:stream/consumers';

/** Without a sign of life. */
const withinMs = 20_000;

/** A call to an engine beside its link, for what the engine port has no word for. Throws unless 2xx. */
export async function callEngine(
  socketPath: string,
  method: string,
  path: string,
): Promise<unknown> {
  const body = await askEngine(socketPath, method, path);
  return body === '' ? undefined : JSON.parse(body);
}

/** The same, for answers of many lines. */
export async function askEngine(
  socketPath: string,
  method: string,
  path: string,
  headers: Record<string, string> = {},
): Promise<string> {
  return await new Promise((resolve, reject) => {
    const call = request({ socketPath, method, path, headers, agent: false });
    call.setTimeout(withinMs, () => call.destroy(new Error(`${path} was not answered`)));
    call.once('error', reject);
    call.once('response', (response) => {
      text(response).then((body) => {
        if ((response.statusCode ?? 0) < 300) resolve(body);
        else reject(new Error(`${method} ${path}: ${response.statusCode ?? 0} ${body}`));
      }, reject);
    });
    call.end();
  });
}

/** The models' containers that are in one of these states now, by id. */
export async function modelContainers(
  socketPath: string,
  states: readonly string[],
  /** Only those of this consumer. */
  consumerId?: string,
): Promise<string[]> {
  const label = ['inference-server.kind=run'];
  if (consumerId !== undefined) label.push(`inference-server.consumer=${consumerId}`);
  const filters = JSON.stringify({ label, status: states });
  const query = new URLSearchParams({ filters }).toString();
  const found = (await callEngine(socketPath, 'GET', `/containers/json?${query}`)) as {
    Id: string;
  }[];
  return found.map(({ Id }) => Id);
}
