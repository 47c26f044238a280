/** Inclusive byte positions, counted from 0. */
export interface ByteRange {
  start: number;
  end: number;
}

/**
 * What a Range header asks for of a representation of `bytes` (RFC 9110, 14.1.2 and 14.2). `whole`:
 * there is no such header, or one that may be ignored: another unit, a malformed one, more than one
 * range. Several ranges would need a multipart answer, which no client that resumes a zip asks for,
 * and which many tiny or overlapping ranges turn into a burden.
 */
export function requestedRange(
  header: string | undefined,
  bytes: number,
): ByteRange | 'whole' | 'unsatisfiable' {
  const set = /^bytes=(.*)$/i.exec(header ?? '')?.[1] ?? '';
  const [only, second] = set.split(',').flatMap((range) => range.trim() || []);
  const [, first = '', last = ''] = /^(\d*)-(\d*)$/.exec(only ?? '') ?? [];
  if (second !== undefined || (first === '' && last === '')) return 'whole';
  if (first === '') return lastBytes(Number(last), bytes);
  const start = Number(first);
  const end = last === '' ? Infinity : Number(last);
  if (end < start) return 'whole';
  return start < bytes ? { start, end: Math.min(end, bytes - 1) } : 'unsatisfiable';
}

/** More than there are is all of them; none cannot be sent. */
function lastBytes(count: number, bytes: number): ByteRange | 'unsatisfiable' {
  if (count === 0 || bytes === 0) return 'unsatisfiable';
  return { start: Math.max(bytes - count, 0), end: bytes - 1 };
}
