import type { ImageDetails, SandboxOptions } from '@inference-server/container-engine';
import { userUnder, type Policy, type Rights } from '@inference-server/contracts';
import { notAllowed, type Outcome } from './outcome.js';

/** How a container of this image is to be run that may have these rights, or why not at all. */
export function sandboxUnder(
  policy: Policy,
  image: ImageDetails,
  { user, network, read_only_root: asksForReadOnly, cap_add: addedCapabilities }: Rights,
): SandboxOptions | Outcome {
  const as = user === null ? userUnder(policy, image.user) : { user };
  if ('rule' in as) return notAllowed(as);
  const { read_only_root: always, runtime } = policy;
  const isReadOnly = asksForReadOnly || always !== undefined;
  return {
    user: as.user,
    network: network ?? undefined,
    addedCapabilities,
    runtime,
    readOnlyRoot: isReadOnly
      ? { tmpBytes: (always?.tmp_mib ?? usualTmpMib) * mib, imageVolumes: image.volumes }
      : undefined,
  };
}

const usualTmpMib = 64;
const mib = 1024 ** 2;
