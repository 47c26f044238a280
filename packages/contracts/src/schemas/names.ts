import Type from 'typebox';

/** 1 to 200 characters, first of [A-Za-z0-9_-], then [A-Za-z0-9_.: -], no blank at the end. */
export const HumanReadableId = Type.String({
  minLength: 1,
  maxLength: 200,
  pattern: '^[A-Za-z0-9_-](?:[A-Za-z0-9_.: -]*[A-Za-z0-9_.:-])?$',
  description: 'The unique, stable name of a model.',
  examples: ['copy'],
});

/** What stands for the name of a model where only names of programs may: two models of one such name cannot be. */
export function qualifiedNameOf(humanReadableId: string): string {
  return humanReadableId.replaceAll(/[^A-Za-z0-9_]/g, '_');
}

const label = '[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?';
// With a dot, a port or as localhost: some engines take any other first part with a capital for a host too.
const registryHost = `(?:(?:localhost|(?:${label}\\.)+${label})(?::[0-9]{1,5})?/|${label}:[0-9]{1,5}/)?`;
const repository =
  '[a-z0-9]+(?:(?:\\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\\.|_|__|-+)[a-z0-9]+)*)*';
const tagAndDigest = '(?::[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(?:@sha256:[a-f0-9]{64})?';

/** A well-formed image reference: [host[:port]/]repository[:tag][@sha256:digest]. */
export const ContainerTag = Type.String({
  minLength: 1,
  maxLength: 512,
  pattern: `^${registryHost}${repository}${tagAndDigest}$`,
  description: 'The container image that runs the model.',
  examples: ['inference-server/copy:1'],
});

/** 256 random bits in base64url. */
export const TaskUid = Type.String({
  pattern: '^[A-Za-z0-9_-]{43}$',
  description: 'The id that the post of a task was answered with.',
});

/** Names a consumer in queue names, labels and tokens. */
export const ConsumerId = Type.String({
  maxLength: 100,
  pattern: '^[A-Za-z0-9](?:[A-Za-z0-9_.-]*[A-Za-z0-9])?$',
});
