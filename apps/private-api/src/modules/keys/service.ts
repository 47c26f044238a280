import type { CreatedKey, KeyDetails, NewKey } from '@inference-server/contracts';
import { AppError } from '@inference-server/errors';
import type { Actor } from '../audit/repository.js';
import { makeKey } from './key-text.js';
import type { KeyRepository } from './repository.js';

export type KeyService = ReturnType<typeof createKeyService>;

export function createKeyService({ keys }: { keys: KeyRepository }) {
  return {
    /**
     * What the answer shows is shown nowhere else. Of an answer that was lost a key stays that nobody
     * has: it opens nothing, and the list shows it.
     */
    async create(key: NewKey, by: Actor): Promise<CreatedKey> {
      const made = makeKey();
      return { ...(await keys.insert(made, key, by)), key: made.text };
    },

    list: (): Promise<KeyDetails[]> => keys.list(),

    async revoke(id: string, by: Actor): Promise<KeyDetails> {
      const key = await keys.revoke(id, by);
      if (key === undefined) throw new AppError('NOT_FOUND', 'There is no such key.');
      return key;
    },
  };
}
