/**
 * The address that a request means: path and query. A proxy's request may name the server before them
 * (RFC 9112, 3.2.2). The original's own documentation registers a model by a post to the tasks'
 * address: a post there that carries `container_tag` is a model registration.
 */
export function canonicalUrl(method: string, target: string): string {
  const url = target.replace(/^https?:\/\/[^/?#]*(?=\/)/i, '');
  const [path = '', query = ''] = splitOnce(url, '?');
  const meansModel =
    method === 'POST' &&
    /^\/api\/tasks\/?$/.test(path) &&
    new URLSearchParams(query).has('container_tag');
  return meansModel ? `/api/models/?${query}` : url;
}

function splitOnce(text: string, separator: string): string[] {
  const at = text.indexOf(separator);
  return at < 0 ? [text] : [text.slice(0, at), text.slice(at + 1)];
}
