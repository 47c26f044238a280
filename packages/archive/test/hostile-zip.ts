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

/** A second entry after an honest one. Bytes of no entry are the fault of the zip as a whole. */
export const second = (what: string, reason: ZipRefusal, entry: RawEntry): HostileZip => {
  const hostile = whole(what, reason, buildZip([honest, entry]));
  return reason === 'hidden_data' ? hostile : atEntry(2, hostile);
};

/** Of the zip as a whole. */
export const whole = (
  what: string,
  reason: ZipRefusal,
  zip: Buffer,
  rules: Partial<ZipRules> = {},
): HostileZip => ({ what, zip, reason, rules });

export const atEntry = (entry: number, hostile: HostileZip): HostileZip => ({ ...hostile, entry });

export const latin1 = (text: string) => Buffer.from(text, 'latin1');
