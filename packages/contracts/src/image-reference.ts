/** The parts of an image's reference, the way engines read it: what is left out is filled in. */
export interface ImageReference {
  /** host[:port]. */
  registry: string;
  /** With the registry, without tag and digest. */
  name: string;
  /** sha256:… */
  digest: string | undefined;
  /** The whole, which an engine can read in one way only: a short one may also be the id of an image. */
  full: string;
}

/** Of a well-formed reference; one without a registry is of docker.io. */
export function parseImageReference(reference: string): ImageReference {
  const [tagged = '', digest] = reference.split('@', 2);
  const bare = tagged.replace(/:[^/:]*$/, '');
  const name = fullImageName(bare);
  const tag = tagged.slice(bare.length) || (digest === undefined ? ':latest' : '');
  const full = `${name}${tag}${digest === undefined ? '' : `@${digest}`}`;
  return { registry: name.slice(0, name.indexOf('/')), name, digest, full };
}

/** What is before the first slash is a registry only where it looks like a host. */
export function fullImageName(name: string): string {
  const [first = '', ...rest] = name.split('/');
  const isHost = rest.length > 0 && (/[.:]/.test(first) || first === 'localhost');
  if (isHost && !['docker.io', 'index.docker.io'].includes(first)) return name;
  const path = isHost ? rest : [first, ...rest];
  return `docker.io/${path.length > 1 ? '' : 'library/'}${path.join('/')}`;
}

/**
 * Of the image that the containers have which are no model's: consumers make it themselves. A model of this
 * name could have it fetched from a registry.
 */
export const helperImageName = 'inference-server/empty';
