import { randomBytes, scrypt, timingSafeEqual, type ScryptOptions } from 'node:crypto';
import { promisify } from 'node:util';

/**
 * scrypt with N = 2^16, r = 8, p = 2, of those that OWASP's Password Storage Cheat Sheet (2024) takes for
 * equally strong: 64 MiB, and some 0.3 s of a core.
 */
const cost = { ln: 16, r: 8, p: 2 };
const bytes = 32;

/** As a PHC string: `$scrypt$ln=16,r=8,p=2$<salt>$<hash>`. */
export async function hashPassword(password: string): Promise<string> {
  const salt = randomBytes(16);
  const hash = await derive(password, salt, cost, bytes);
  const { ln, r, p } = cost;
  return `$scrypt$ln=${ln},r=${r},p=${p}$${unpadded(salt)}$${unpadded(hash)}`;
}

/**
 * Whether it is the password; with the costs that the hash tells of. Of nobody (undefined) it takes as
 * long, and it is not.
 */
export async function isPasswordOf(stored: string | undefined, password: string): Promise<boolean> {
  const [, ln, r, p, salt, hash] = phc.exec(stored ?? ofNobody) ?? [];
  const wanted = Buffer.from(hash ?? '', 'base64');
  const given = { ln: Number(ln), r: Number(r), p: Number(p) };
  const found = await derive(password, Buffer.from(salt ?? '', 'base64'), given, wanted.length);
  return timingSafeEqual(found, wanted) && stored !== undefined;
}

const phc = /^\$scrypt\$ln=(\d+),r=(\d+),p=(\d+)\$([A-Za-z0-9+/]+)\$([A-Za-z0-9+/]+)$/;
const ofNobody = `$scrypt$ln=${cost.ln},r=${cost.r},p=${cost.p}$${'A'.repeat(22)}$${'A'.repeat(43)}`;

const scryptAsync = promisify<string, Buffer, number, ScryptOptions, Buffer>(scrypt);

function derive(
  password: string,
  salt: Buffer,
  { ln, r, p }: typeof cost,
  length: number,
): Promise<Buffer> {
  const N = 2 ** ln;
  // One text in two forms of Unicode is one password.
  return scryptAsync(password.normalize('NFKC'), salt, length, { N, r, p, maxmem: 256 * N * r });
}

function unpadded(data: Buffer): string {
  return data.toString('base64').replace(/=+$/, '');
}
