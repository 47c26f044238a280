import { once } from 'node:events';
import { request, type IncomingMessage } from 'node:http';
import type { Readable } from 'node:stream';
import { dockerAddress } from '@inference-server/local-services';
import { whenFileEnds, type EngineApi } from '@inference-server/testing';

/**
 * Images whose command is the script that comes with the input, /input/run.sh; gone with the file.
 * `changes` are further lines of an image recipe, `files` a tar for the image's root folder.
 */
export async function makeScriptImage(
  api: EngineApi,
  base: string,
  tag: string,
  changes: readonly string[] = [],
  files?: Readable,
): Promise<string> {
  const [repo = '', version = '1'] = tag.split(':');
  const body = { Image: base, Cmd: ['sh'] };
  const { Id } = (await api.call('POST', '/containers/create', body)) as { Id: string };
  if (files !== undefined) await api.upload('PUT', `/containers/${Id}/archive?path=/`, files);
  const query = new URLSearchParams({ container: Id, repo, tag: version });
  for (const change of ['CMD ["sh", "/input/run.sh"]', ...changes]) query.append('changes', change);
  await api.call('POST', `/commit?${query.toString()}`, {});
  await api.call('DELETE', `/containers/${Id}?v=1`);
  whenFileEnds(`image ${tag}`, async () => {
    await api.call('DELETE', `/images/${tag}`);
  });
  return tag;
}

/** Brings an image from one engine to another. */
export async function copyImage(tag: string, fromHost: string, to: EngineApi): Promise<void> {
  const get = request({ ...dockerAddress(fromHost), path: `/images/${tag}/get`, agent: false });
  get.end();
  const [saved] = (await once(get, 'response')) as [IncomingMessage];
  await to.upload('POST', '/images/load?quiet=1', saved);
}
