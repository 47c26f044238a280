import { createHash, randomBytes, timingSafeEqual } from 'node:crypto';
import { keyForm } from '@inference-server/contracts';

/** A key at the moment when it is made: the only one at which its text is known. */
export interface MadeKey {
  id: string;
  /** `isk_<id>_<secret>`. The name in front lets scanners for leaked secrets find it. */
  text: string;
  secretSha256: Buffer;
}

/** A key of 256 random bits; its id is 80 others. */
export function makeKey(): MadeKey {
  const id = base32(randomBytes(10));
  const secret = randomBytes(32).toString('base64url');
  return { id, text: `isk_${id}_${secret}`, secretSha256: digestOf(secret) };
}

/** The id and the secret of what has the form of a key. */
export function readKey(text: string): { id: string; secret: string } | undefined {
  const [, id, secret] = keyForm.exec(text) ?? [];
  return id === undefined || secret === undefined ? undefined : { id, secret };
}

/** In constant time. */
export function isSecretOf(secretSha256: Buffer, secret: string): boolean {
  return timingSafeEqual(secretSha256, digestOf(secret));
}

function digestOf(secret: string): Buffer {
  return createHash('sha256').update(secret).digest();
}

/** RFC 4648, in lower case; of a multiple of five bytes, so that there is no padding. */
function base32(bytes: Buffer): string {
  const bits = [...bytes].map((byte) => byte.toString(2).padStart(8, '0')).join('');
  const digits = bits.match(/.{5}/g) ?? [];
  return digits
    .map((digit) => 'abcdefghijklmnopqrstuvwxyz234567'.charAt(parseInt(digit, 2)))
    .join('');
}
