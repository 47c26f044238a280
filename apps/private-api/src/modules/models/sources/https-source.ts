import { isIP } from 'node:net';
import { download, type DownloadBounds } from './download.js';
import { isPublicAddress } from './public-address.js';
import { refusedUrl, sourceAway, type ModelSource, type OpenSource } from './model-source.js';

/** Of one URL: that of the caller, and those to which it leads. */
const mostRedirects = 3;
const redirects = new Set([301, 302, 303, 307, 308]);

/**
 * What the `hosts` serve over TLS: `name` (port 443) or `name:port`, whatever their addresses are; and with `*`
 * what any other host serves on port 443, at addresses of the internet alone. No host: nothing, since a server
 * that asks whatever address it is told to asks those that only it can reach, too.
 */
export function createHttpsSource({
  hosts,
  ...bounds
}: DownloadBounds & { hosts: readonly string[] }): ModelSource {
  // As a URL has them, which leaves out the usual port.
  const known = new Set(hosts.map((host) => host.toLowerCase().replace(/:443$/, '')));

  function allowed(text: string, base?: string): { url: string; onlyPublic: boolean } {
    if (known.size === 0) throw refusedUrl('is of https, and MODEL_SOURCE_HOSTS is not set');
    const url = URL.canParse(text, base) ? new URL(text, base) : undefined;
    if (url?.protocol !== 'https:') {
      throw refusedUrl(base === undefined ? 'is no URL' : 'leads to something other than https');
    }
    if (url.username !== '' || url.password !== '') throw refusedUrl('has a user or a password');
    url.hash = '';
    if (known.has(url.host)) return { url: url.href, onlyPublic: false };
    const address = url.hostname.replace(/^\[(.*)\]$/, '$1');
    const isOpen = known.has('*') && url.port === '';
    if (!isOpen || (isIP(address) !== 0 && !isPublicAddress(address))) {
      throw refusedUrl('is of a host that MODEL_SOURCE_HOSTS does not allow');
    }
    return { url: url.href, onlyPublic: true };
  }

  async function follow(from: string, signal: AbortSignal): Promise<OpenSource> {
    let next = allowed(from);
    for (let led = 0; led <= mostRedirects; led += 1) {
      const answer = await download(next, bounds, signal);
      if ('source' in answer) return answer.source;
      if (!redirects.has(answer.status) || answer.location === undefined) {
        throw sourceAway(`answers with ${answer.status}`);
      }
      next = allowed(answer.location, next.url);
    }
    throw refusedUrl(`leads on more than ${mostRedirects} times`);
  }

  return { open: follow };
}
