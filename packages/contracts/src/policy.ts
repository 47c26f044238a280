import Type, { type Static } from 'typebox';
import { ConsumerRule } from './consumer-rule.js';
import { fullImageName, helperImageName, parseImageReference } from './image-reference.js';
import { Capability, NetworkName, userAndGroupPattern, type Rights } from './schemas/rights.js';
import { maxStoredInteger } from './schemas/stored-integer.js';
import { textPattern } from './text-pattern.js';

const closed = { additionalProperties: false } as const;

const ImageRule = Type.Object(
  {
    name: Type.Optional(
      Type.String({
        pattern: '^[A-Za-z0-9*][A-Za-z0-9._:*/-]*$',
        description: 'Without a tag. *: anything but a slash; **: anything.',
      }),
    ),
    registry: Type.Optional(
      Type.String({ pattern: '^[A-Za-z0-9.-]+(?::[0-9]{1,5})?$', description: 'host[:port]' }),
    ),
    digest: Type.Optional(Type.String({ pattern: '^sha256:[0-9a-f]{64}$' })),
  },
  { ...closed, minProperties: 1, description: 'What it says must all hold of an image.' },
);

/** What an operator allows models, and those who run them: what is left out is as without a policy. */
export const Policy = Type.Object(
  {
    images: Type.Optional(
      Type.Array(ImageRule, { description: 'One of these must hold. Left out: any image.' }),
    ),
    require_digest: Type.Optional(
      Type.Boolean({ description: 'Images must be named by their digest.' }),
    ),
    allow: Type.Optional(
      Type.Array(
        Type.Object(
          {
            model: Type.Optional(
              Type.String({ minLength: 1, description: 'human_readable_id. *: anything.' }),
            ),
            image: Type.Optional(ImageRule),
            networks: Type.Optional(Type.Array(NetworkName)),
            cap_add: Type.Optional(Type.Array(Capability)),
          },
          closed,
        ),
        { description: 'What models of this name and image may ask for. Left out: nothing.' },
      ),
    ),
    require_non_root: Type.Optional(
      Type.Boolean({ description: 'Refuses images whose user is root, or is named by a name.' }),
    ),
    run_as: Type.Optional(
      Type.String({
        pattern: userAndGroupPattern,
        description: 'uid:gid of those images, which are then not refused.',
      }),
    ),
    read_only_root: Type.Optional(
      Type.Object(
        { tmp_mib: Type.Integer({ minimum: 1, maximum: maxStoredInteger }) },
        {
          ...closed,
          description:
            'Of all containers: /tmp is memory of this size, which counts towards theirs.',
        },
      ),
    ),
    runtime: Type.Optional(
      Type.String({
        pattern: '^[A-Za-z0-9][A-Za-z0-9_.-]*$',
        description: "The name of one in the engine; left out: the engine's default.",
      }),
    ),
    require_userns: Type.Optional(
      Type.Boolean({ description: "The engine's root is a user of its host without rights." }),
    ),
    consumers: Type.Optional(
      Type.Array(ConsumerRule, {
        description: 'Of private-api: one of these must hold. Left out: any consumer with a token.',
      }),
    ),
  },
  closed,
);
export type Policy = Static<typeof Policy>;

/** A rule of the policy that forbids something. */
export interface PolicyRefusal {
  /** Its name in the policy. */
  rule: keyof Policy;
  detail: string;
}

/** Why an image may not be run; undefined: it may. */
export function refusalOfImage(
  { images, require_digest: requireDigest = false }: Policy,
  image: string,
): PolicyRefusal | undefined {
  const { digest, name } = parseImageReference(image);
  if (name === fullImageName(helperImageName)) {
    return { rule: 'images', detail: 'the image is one of the server’s own.' };
  }
  if (requireDigest && digest === undefined) {
    return { rule: 'require_digest', detail: 'the image is not named by its digest.' };
  }
  const isAllowed = images === undefined || images.some((rule) => matchesImage(rule, image));
  return isAllowed ? undefined : { rule: 'images', detail: 'the image is none of the images.' };
}

/** Why a model may not have what it asks of its sandbox; undefined: it may. */
export function refusalOfRights(
  { allow = [] }: Policy,
  model: { humanReadableId: string; image: string; rights: Rights },
): (PolicyRefusal & { parameter: 'network' | 'cap_add' }) | undefined {
  const { network, cap_add: capabilities } = model.rights;
  const entries = allow.filter(
    (entry) =>
      (entry.model === undefined || textPattern(entry.model).test(model.humanReadableId)) &&
      (entry.image === undefined || matchesImage(entry.image, model.image)),
  );
  if (network !== null && !entries.some(({ networks = [] }) => networks.includes(network))) {
    const detail = 'it may not join this network.';
    return { rule: 'allow', detail, parameter: 'network' };
  }
  const allowed = new Set(entries.flatMap((entry) => entry.cap_add ?? []));
  const beyond = capabilities.filter((capability) => !allowed.has(capability));
  if (beyond.length === 0) return undefined;
  return { rule: 'allow', detail: `it may not have ${beyond.join(', ')}.`, parameter: 'cap_add' };
}

/** All that the rule says. */
function matchesImage(rule: Static<typeof ImageRule>, image: string): boolean {
  const { name, registry, digest } = parseImageReference(image);
  return (
    (rule.name === undefined || patternOf(rule.name).test(name)) &&
    (rule.registry === undefined || rule.registry === registry) &&
    (rule.digest === undefined || rule.digest === digest)
  );
}

/**
 * Who a container is to run as whose image names this user; undefined: that one. A name may be anybody, by
 * the image's own list of users: only a number shows that it is not root.
 */
export function userUnder(
  { require_non_root: requireNonRoot = false, run_as: runAs }: Policy,
  user: string,
): { user: string | undefined } | PolicyRefusal {
  // Said again: what the image names may be another by the time that the container is made.
  if (/^[1-9][0-9]*(?::|$)/.test(user)) {
    return { user: requireNonRoot || runAs !== undefined ? user : undefined };
  }
  if (runAs !== undefined) return { user: runAs };
  if (!requireNonRoot) return { user: undefined };
  const detail = `its image runs as ${user === '' ? 'root' : user}, not as a user with a number.`;
  return { rule: 'require_non_root', detail };
}

/** What an engine lacks that containers are to have; undefined: nothing. */
export function lackOfEngine(
  { runtime, require_userns: requireUserns = false }: Policy,
  engine: { runtimes: readonly string[]; hasUserNamespaces: boolean },
): string | undefined {
  if (runtime !== undefined && !engine.runtimes.includes(runtime)) {
    return `The policy wants the runtime ${runtime}; the engine has ${engine.runtimes.join(', ')}.`;
  }
  if (!requireUserns || engine.hasUserNamespaces) return undefined;
  return 'The policy wants user namespaces; the engine has none (userns-remap, or rootless).';
}

/** Filled in like an image's name, so that both ways of writing one mean the same. */
function patternOf(name: string): RegExp {
  const full = name.startsWith('**') ? name : fullImageName(name);
  const parts = full.split(/(\*+)/).map((part) => {
    if (part === '*') return '[^/]*';
    return part.startsWith('**') ? '.*' : part.replace(/[.]/g, '\\.');
  });
  return new RegExp(`^${parts.join('')}$`);
}
