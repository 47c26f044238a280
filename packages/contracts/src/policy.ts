import Type, { type Static } from 'typebox';
import { fullImageName, parseImageReference } from './image-reference.js';

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

/** What an operator allows the containers of models: what is left out is as without a policy. */
export const Policy = Type.Object(
  {
    images: Type.Optional(
      Type.Array(ImageRule, { description: 'One of these must hold. Left out: any image.' }),
    ),
    require_digest: Type.Optional(
      Type.Boolean({ description: 'Images must be named by their digest.' }),
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
  const { name, registry, digest } = parseImageReference(image);
  if (requireDigest && digest === undefined) {
    return { rule: 'require_digest', detail: `${image} is not named by its digest.` };
  }
  const isAllowed =
    images === undefined ||
    images.some(
      (rule) =>
        (rule.name === undefined || patternOf(rule.name).test(name)) &&
        (rule.registry === undefined || rule.registry === registry) &&
        (rule.digest === undefined || rule.digest === digest),
    );
  return isAllowed ? undefined : { rule: 'images', detail: `${image} is none of the images.` };
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
