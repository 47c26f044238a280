import type { ImageDetails, SandboxOptions } from '@inference-server/container-engine';
import { userUnder, type Policy } from '@inference-server/contracts';
import { notAllowed, type Outcome } from './outcome.js';

/** How a container of this image is to be run under a policy, or why not at all. */
export function sandboxUnder(policy: Policy, image: ImageDetails): SandboxOptions | Outcome {
  const as = userUnder(policy, image.user);
  if ('rule' in as) return notAllowed(as);
  const { read_only_root: readOnlyRoot, runtime } = policy;
  return {
    user: as.user,
    runtime,
    readOnlyRoot: readOnlyRoot && { tmpBytes: readOnlyRoot.tmp_mib * mib },
  };
}

const mib = 1024 ** 2;
