/** The extra fields of a record that say something to us, by their id. */
export type ExtraFields = ReadonlyMap<number, Buffer>;

export const extraId = {
  zip64: 0x0001,
  ntfs: 0x000a,
  timestamp: 0x5455,
  unicodePath: 0x7075,
  /** "ASi Unix": a mode, by which unzip makes a link where the directory has none. */
  asiUnix: 0x756e,
};

/**
 * Takes the extra area of a header apart (APPNOTE 4.5); undefined when it is damaged, or when one of
 * the fields that change what an entry is stands there twice, or is too short for any number: readers
 * differ on what counts; or when libarchive's own field is there, by which bsdtar makes a link of what
 * is a file for everybody else. Less than a field's head of zeros at the end is alignment. Keeps what
 * is looked at: an area may hold 16,000 fields of nothing.
 */
export function parseExtraFields(area: Buffer): ExtraFields | undefined {
  const fields = new Map<number, Buffer>();
  let at = 0;
  while (at + 4 <= area.length) {
    const id = area.readUInt16LE(at);
    const start = at + 4;
    at = start + area.readUInt16LE(at + 2);
    if (at > area.length) return undefined;
    if (id === libarchiveId) return undefined;
    if (!knownIds.has(id)) continue;
    if (essentialIds.has(id) && fields.has(id)) return undefined;
    // Only the number of a disk, which is never missing; Java refuses it as well.
    if (id === extraId.zip64 && at - start === 4) return undefined;
    if (id === extraId.asiUnix && at - start < 6) return undefined;
    fields.set(id, area.subarray(start, at));
  }
  return area.subarray(at).every((byte) => byte === 0) ? fields : undefined;
}

const knownIds = new Set(Object.values(extraId));
const essentialIds = new Set([extraId.zip64, extraId.unicodePath, extraId.asiUnix]);
/** "xl": a mode that goes before the one of the directory. Written only when it is asked for. */
const libarchiveId = 0x6c78;

/**
 * The 64-bit values for those of `stated` that are full (APPNOTE 4.5.3): the field has one for each,
 * in order. Writers that put all of them there all the same must repeat what is stated. Undefined when
 * the field and the header contradict each other. Sizes past 2^53 are rounded.
 */
export function resolveZip64(
  stated: readonly { value: number; full: number }[],
  field: Buffer | undefined,
): number[] | undefined {
  const missing = stated.filter(({ value, full }) => value === full).length;
  if (field === undefined) return missing === 0 ? stated.map(({ value }) => value) : undefined;
  const values: number[] = [];
  for (let at = 0; at + 8 <= field.length; at += 8) values.push(Number(field.readBigUInt64LE(at)));
  if (field.length % 8 !== 0 && field.length % 8 !== 4) return undefined;
  if (values.length < missing) return undefined;
  const left = [...values];
  const resolved = stated.map(({ value, full }) =>
    value === full ? (left.shift() ?? value) : value,
  );
  if (left.length === 0) return resolved;
  // Read as all of them there are, it must say the same as when read as those that are missing.
  return resolved.every((value, index) => index >= values.length || value === values[index])
    ? resolved
    : undefined;
}

/** The mode in the field of ASi, behind a checksum; 0 when there is none. */
export function asiModeOf(extra: ExtraFields): number {
  return extra.get(extraId.asiUnix)?.readUInt16LE(4) ?? 0;
}
