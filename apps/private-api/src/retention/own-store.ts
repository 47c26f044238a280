import type { BlobStore } from '@inference-server/blob-store';
import type { Logger } from '@inference-server/service-kit';
import type { Installation } from '../database/installation.js';
import type { Sweep } from './sweep.js';
import { nothing } from './sweep.js';

/**
 * Lets a sweep remove what no row knows only in a store that is this installation's own: in one that
 * belongs to another database, or whose database was replaced by an empty one, no row knows any file.
 */
export function onlyInOwnStore(sweep: Sweep, { store, installation, logger }: OwnStore): Sweep {
  const complain = (): void => {
    logger.error(
      { sweep: sweep.name },
      'the storage belongs to another installation: nothing is removed that no row knows',
    );
  };
  return {
    ...sweep,
    async look(signal) {
      const owner = await store.owner(signal);
      if (owner === undefined || owner === (await installation.known())) return sweep.look(signal);
      complain();
      return nothing;
    },
    async take(signal) {
      const id = await installation.id();
      let owner = await store.owner(signal);
      if (owner === undefined) {
        await store.claim(id, signal);
        owner = await store.owner(signal);
      }
      if (owner === id) return sweep.take(signal);
      complain();
      return { ...nothing, more: false };
    },
  };
}

export interface OwnStore {
  store: BlobStore;
  installation: Installation;
  logger: Logger;
}
