import { createHash } from 'node:crypto';
import { connectEngine } from './engine.mjs';
import { hashEntries, tarOf } from './rootfs.mjs';

/** Carries the digest of everything that an image was made of. */
export const contentLabel = 'inference-server.content';

/**
 * Makes the image `tag` out of local files, without a registry. An image of that tag and the same
 * content is left as it is; one of other content is replaced and removed.
 *
 * @param {{
 *   tag: string,
 *   entries: import('./rootfs.mjs').RootfsEntry[],
 *   changes: string[],
 *   dockerHost: string,
 *   signal: AbortSignal,
 * }} options `changes`: CMD, USER and the like, as a Dockerfile writes them
 * @returns {Promise<string>} the tag
 */
export async function buildFromFiles({ tag, entries, changes, dockerHost, signal }) {
  const engine = connectEngine({ dockerHost, signal });
  const hash = createHash('sha256').update(JSON.stringify(changes));
  await hashEntries(hash, entries);
  const content = hash.digest('hex');

  const before = await engine.findImage(tag);
  if (before?.labels[contentLabel] === content) return tag;
  await engine.importImage(tarOf(entries), {
    tag,
    changes: [...changes, `LABEL ${contentLabel}=${content}`],
  });
  if (before !== undefined) await engine.removeImage(before.id);
  return tag;
}
