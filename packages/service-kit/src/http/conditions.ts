import type { IncomingHttpHeaders } from 'node:http';
import { requestedRange, type ByteRange } from './byte-range.js';
import { parseHttpDate } from './http-date.js';

/** What a request is held against. A blob never changes, so that both validators are strong. */
export interface Representation {
  /** A strong entity tag, with its quotes. */
  etag: string;
  modifiedAt: Date;
  bytes: number;
}

export type Choice = { status: 200 | 304 | 412 | 416 } | { status: 206; range: ByteRange };

/**
 * How a request is answered that would get the whole with 200 if it asked for nothing else: by its
 * conditions, in the order of RFC 9110, 13.2.2, then by its range. A condition that cannot be read
 * as a date is ignored, one that cannot be read as an entity tag matches nothing.
 */
export function chooseAnswer(
  method: string,
  headers: IncomingHttpHeaders,
  { etag, modifiedAt, bytes }: Representation,
): Choice {
  const modifiedMs = Math.floor(modifiedAt.getTime() / 1000) * 1000;
  const match = headers['if-match'];
  if (match !== undefined) {
    if (!names(match, etag, 'strong')) return { status: 412 };
  } else if (modifiedMs > dateIn(headers['if-unmodified-since'], Infinity)) {
    return { status: 412 };
  }
  const noneMatch = headers['if-none-match'];
  if (noneMatch !== undefined) {
    if (names(noneMatch, etag, 'weak')) return { status: 304 };
  } else if (modifiedMs <= dateIn(headers['if-modified-since'], -Infinity)) {
    return { status: 304 };
  }
  // A range is defined for GET only, and meant only when If-Range names what is here.
  const ifRange = headers['if-range']?.toString();
  if (method !== 'GET') return { status: 200 };
  if (ifRange !== undefined && ifRange !== etag && dateIn(ifRange, NaN) !== modifiedMs) {
    return { status: 200 };
  }
  const range = requestedRange(headers.range, bytes);
  if (range === 'whole') return { status: 200 };
  return range === 'unsatisfiable' ? { status: 416 } : { status: 206, range };
}

/** Whether a list of entity tags, or `*`, names `etag`. A weak tag never matches strongly. */
function names(list: string, etag: string, comparison: 'strong' | 'weak'): boolean {
  if (list.trim() === '*') return true;
  if (!entityTagList.test(list)) return false;
  return [...list.matchAll(entityTag)].some(
    ([, weak, tag]) => tag === etag && (comparison === 'weak' || weak === undefined),
  );
}

/** A tag may hold commas: the list is not split, its tags are picked out. */
const entityTag = /(W\/)?("[^"]*")/g;
const entityTagList = /^[\t ,]*(?:(?:W\/)?"[\x21\x23-\x7e\x80-\xff]*"[\t ]*(?:,[\t ,]*|$))*$/;

function dateIn(header: string | undefined, otherwise: number): number {
  return (header === undefined ? undefined : parseHttpDate(header)) ?? otherwise;
}
