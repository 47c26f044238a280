import { readFileSync, statSync } from 'node:fs';
import Type from 'typebox';
import Value from 'typebox/value';
import type { RegistryCredentials } from '@inference-server/container-engine';
import { parseImageReference, type Policy } from '@inference-server/contracts';
import { systemCode } from '@inference-server/errors';
import { ConfigError } from '@inference-server/service-kit';

/** What a registry wants of whoever pulls this image; undefined: nothing is known of it. */
export type CredentialsOf = (image: string) => RegistryCredentials | undefined;

/**
 * Reads the credentials of registries from a file as docker keeps it (config.json, without helpers). Throws
 * {@link ConfigError}, in words that have nothing of what is in it; also where the policy does not say which
 * images may be run: whoever registers a model would fetch with them whatever they open.
 */
export function readRegistryAuth(
  path: string | undefined,
  { images }: Pick<Policy, 'images'>,
): CredentialsOf {
  if (path === undefined) return () => undefined;
  if (images === undefined) {
    throw invalid(
      "for which images? POLICY_FILE must have images (name: '**' for all that models name)",
    );
  }
  const known = new Map<string, RegistryCredentials>();
  for (const [place, entry] of Object.entries(readEntries(path))) {
    const registry = hostOf(place);
    const credentials = credentialsOf(entry);
    if (credentials === undefined) {
      throw invalid(
        `what it has of ${registry} is neither auth, username and password, nor identitytoken`,
      );
    }
    known.set(registry, { ...credentials, serveraddress: place });
  }
  return (image) => known.get(parseImageReference(image).registry);
}

function readEntries(path: string): Record<string, Entry> {
  let text: string;
  try {
    if ((statSync(path).mode & othersMay) !== 0) {
      throw invalid('others than its owner and group can read or change it: chmod 600 it');
    }
    text = readFileSync(path, 'utf8');
  } catch (error) {
    if (error instanceof ConfigError) throw error;
    throw invalid(`it cannot be read (${systemCode(error) ?? 'unknown'})`);
  }
  let content: unknown;
  try {
    content = JSON.parse(text);
  } catch {
    // Its words would quote the file.
    throw invalid('it is no JSON');
  }
  if (!Value.Check(DockerConfig, content)) throw invalid('it has not the form of a config.json');
  return content.auths;
}

/** Anything of all others, and writing by the group. */
const othersMay = 0o027;

function credentialsOf({ auth, username, password, identitytoken }: Entry) {
  if (identitytoken !== undefined) return { identitytoken };
  if (username !== undefined && password !== undefined) return { username, password };
  const [, user, secret] =
    /^([^:]+):(.*)$/s.exec(Buffer.from(auth ?? '', 'base64').toString()) ?? [];
  return user === undefined || secret === undefined
    ? undefined
    : { username: user, password: secret };
}

/** Docker's own registry stands under an old address of it. */
function hostOf(place: string): string {
  const host = place.replace(/^https?:\/\//, '').replace(/\/.*$/, '');
  return ['index.docker.io', 'registry-1.docker.io'].includes(host) ? 'docker.io' : host;
}

function invalid(why: string): ConfigError {
  return new ConfigError(`REGISTRY_AUTH_FILE: ${why}`);
}

const Entry = Type.Object({
  auth: Type.Optional(Type.String()),
  username: Type.Optional(Type.String()),
  password: Type.Optional(Type.String()),
  identitytoken: Type.Optional(Type.String()),
});
type Entry = Type.Static<typeof Entry>;

const DockerConfig = Type.Object({ auths: Type.Record(Type.String(), Entry) });
