import { open, rename } from 'node:fs/promises';
import { join } from 'node:path';
import { AppError, messageOf } from '@inference-server/errors';
import type { Logger } from '@inference-server/service-kit';
import type { Config } from './config.js';
import { atTheStart } from './modules/audit/repository.js';
import { makeKey } from './modules/keys/key-text.js';
import type { KeyRepository } from './modules/keys/repository.js';
import type { UserRepository } from './modules/users/repository.js';
import type { UserService } from './modules/users/service.js';

/**
 * The ways in that a new installation has: an admin key in a file that only its owner reads, and the
 * person of BOOTSTRAP_USER. Where there were keys, or such a person, before, nothing is changed. The
 * file is there before the row: a start that ends between them leaves a key that opens nothing, and the
 * next one writes another.
 */
export async function letFirstIn(deps: {
  keys: KeyRepository;
  users: UserRepository;
  userService: UserService;
  settings: Pick<Config, 'DATA_DIR' | 'BOOTSTRAP_USER' | 'BOOTSTRAP_PASSWORD'>;
  logger: Logger;
}): Promise<void> {
  const {
    DATA_DIR: folder,
    BOOTSTRAP_USER: userName,
    BOOTSTRAP_PASSWORD: password,
  } = deps.settings;
  if (folder !== undefined) await makeFirstKey(join(folder, 'admin.key'), deps);
  if (userName === undefined || (await deps.users.exists(userName))) return;
  if (password === undefined) {
    throw new AppError(
      'VALIDATION_FAILED',
      'BOOTSTRAP_USER is set, and BOOTSTRAP_PASSWORD is not.',
    );
  }
  await deps.userService.put(userName, { password, role: 'submit' }, atTheStart);
  deps.logger.info({ user: userName }, 'the person of BOOTSTRAP_USER is let in');
}

async function makeFirstKey(
  path: string,
  { keys, logger }: { keys: KeyRepository; logger: Logger },
): Promise<void> {
  const made = makeKey();
  const isMade = await keys.insertFirst(made, { name: 'first admin key', role: 'admin' }, () =>
    writeSecret(path, made.text),
  );
  if (isMade) logger.info({ path }, 'the first admin key is in this file');
}

/** Whole or not at all, and durable; nobody else may read it, not even for a moment. */
async function writeSecret(path: string, secret: string): Promise<void> {
  const part = `${path}.part`;
  try {
    const file = await open(part, 'w', 0o600);
    try {
      // Of an earlier one, which may have been anybody's to read.
      await file.chmod(0o600);
      await file.writeFile(`${secret}\n`);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(part, path);
  } catch (error) {
    const detail = `The first admin key cannot be written to ${path}: ${messageOf(error)}`;
    throw new AppError('INTERNAL', detail, { cause: error });
  }
}
