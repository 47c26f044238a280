import { randomBytes, scrypt, timingSafeEqual, type ScryptOptions } from 'node:crypto';
import { promisify } from 'node:util';

/**
 * scrypt with N = 2^ln, r = 8, p = 2. With ln = 16 it is of those that OWASP's Password Storage Cheat Sheet
 * (2024) takes for equally strong: 64 MiB, and some 0.3 s of a core.
 */
const r = 8;
const p = 2;
const bytes = 32;

/** As a PHC string: `$scrypt$ln=16,r=8,p=2$<salt>$<hash>`. */
export async function hashPassword(password: string, ln: number): Promise<string> {
  const salt = randomBytes(16);
  const hash = await derive(password, salt, { ln, r, p }, bytes);
  return `$scrypt$ln=${ln},r=${r},p=${p}$${unpadded(salt)}$${unpadded(hash)}`;
}

/**
 * Whether it is the password; with the costs that the hash tells of. Of nobody (undefined) it takes as
 * long as with `ln`, and it is not.
 */
export async function isPasswordOf(
  stored: string | undefined,
  password: string,
  { ln: usualLn }: { ln: number },
): Promise<boolean> {
  const ofNobody = `$scrypt$ln=${usualLn},r=${r},p=${p}$${'A'.repeat(22)}$${'A'.repeat(43)}`;
  const [, ln, ofR, ofP, salt, hash] = phc.exec(stored ?? ofNobody) ?? [];
  const wanted = Buffer.from(hash ?? '', 'base64');
  const given = { ln: Number(ln), r: Number(ofR), p: Number(ofP) };
  const found = await derive(password, Buffer.from(salt ?? '', 'base64'), given, wanted.length);
  return timingSafeEqual(found, wanted) && stored !== undefined;
}

/** Whether it was made with another cost. */
export function isOfOtherCost(stored: string, ln: number): boolean {
  return !stored.startsWith(`$scrypt$ln=${ln},r=${r},p=${p}$`);
}

const phc = /^\$scrypt\$ln=(\d+),r=(\d+),p=(\d+)\$([A-Za-z0-9+/]+)\$([A-Za-z0-9+/]+)$/;

const scryptAsync = promisify<string, Buffer, number, ScryptOptions, Buffer>(scrypt);

function derive(
  password: string,
  salt: Buffer,
  cost: { ln: number; r: number; p: number },
  length: number,
): Promise<Buffer> {
  const N = 2 ** cost.ln;
  // One text in two forms of Unicode is one password.
  return scryptAsync(password.normalize('NFKC'), salt, length, {
    N,
    r: cost.r,
    p: cost.p,
    maxmem: 256 * N * cost.r,
  });
}

function unpadded(data: Buffer): string {
  return data.toString('base64').replace(/=+$/, '');
}
