import { extraId, type ExtraFields } from './extra-fields.js';

/**
 * When an entry was last changed: from Info-ZIP's or NTFS' extra field, which are in UTC, or the DOS
 * time, which leaves its zone open and is taken for UTC.
 */
export function modifiedTime({ extra, dosTime }: { extra: ExtraFields; dosTime: number }): Date {
  return fromTimestamp(extra) ?? fromNtfs(extra) ?? fromDos(dosTime);
}

/** A byte that says what is there (bit 0: this), then seconds since 1970. */
function fromTimestamp(extra: ExtraFields): Date | undefined {
  const field = extra.get(extraId.timestamp);
  if (field === undefined || field.length < 5 || ((field[0] ?? 0) & 1) === 0) return undefined;
  return new Date(field.readInt32LE(1) * 1000);
}

/** Four bytes without meaning, then tag 1 of 24 bytes: 100 ns since 1601, three times. */
function fromNtfs(extra: ExtraFields): Date | undefined {
  const field = extra.get(extraId.ntfs);
  if (field === undefined || field.length < 32 || field.readUInt32LE(4) !== 0x180001) {
    return undefined;
  }
  return new Date(Number(field.readBigUInt64LE(8) / 10_000n) - millisecondsFrom1601To1970);
}

const millisecondsFrom1601To1970 = 11_644_473_600_000;

function fromDos(dosTime: number): Date {
  const date = dosTime >>> 16;
  return new Date(
    Date.UTC(
      1980 + (date >>> 9),
      ((date >>> 5) & 0xf) - 1,
      date & 0x1f,
      (dosTime >>> 11) & 0x1f,
      (dosTime >>> 5) & 0x3f,
      (dosTime & 0x1f) * 2,
    ),
  );
}
