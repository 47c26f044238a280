/** The parts of an image's reference, the way engines read it: what is left out is filled in. */
export interface ImageReference {
  /** host[:port]. */
  registry: string;
  /** With the registry, without tag and digest. */
  name: string;
  /** sha256:… */
  digest: string | undefined;
}

/** Of a well-formed reference; one without a registry is of docker.io. */
export function parseImageReference(reference: string): ImageReference {
  const [tagged = '', digest] = reference.split('@', 2);
  const name = fullImageName(tagged.replace(/:[^/:]*$/, ''));
  return { registry: name.slice(0, name.indexOf('/')), name, digest };
}

/** What is before the first slash is a registry only where it looks like a host. */
export function fullImageName(name: string): string {
  const [first = '', ...rest] = name.split('/');
  if (rest.length > 0 && (/[.:]/.test(first) || first === 'localhost')) return name;
  return rest.length > 0 ? `docker.io/${name}` : `docker.io/library/${name}`;
}
