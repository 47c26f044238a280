import type { ZipRefusal, ZipRules } from '../src/index.js';
import { buildZip, type RawEntry } from './zip-builder.js';

/** A zip that the gate must refuse, and the exact answer. */
export interface HostileZip {
  what: string;
  zip: Buffer;
  reason: ZipRefusal;
  /** The entry at fault, counted from 1; undefined when it is the zip as a whole. */
  entry?: number;
  /** Tighter than the defaults. */
  rules?: Partial<ZipRules>;
}

export const honest: RawEntry = { name: 'honest', content: 'content' };

/** A second entry after an honest one. */
export const second = (what: string, reason: ZipRefusal, entry: RawEntry): HostileZip => ({
  what,
  zip: buildZip([honest, entry]),
  reason,
  entry: 2,
});

/** Of the zip as a whole. */
export const whole = (
  what: string,
  reason: ZipRefusal,
  zip: Buffer,
  rules: Partial<ZipRules> = {},
): HostileZip => ({ what, zip, reason, rules });

export const atEntry = (entry: number, hostile: HostileZip): HostileZip => ({ ...hostile, entry });

export const latin1 = (text: string) => Buffer.from(text, 'latin1');
