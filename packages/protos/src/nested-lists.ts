/** Lists in lists, as they were given: their sizes, and a walk over what stands innermost. */
export interface NestedLists {
  dims: number[];
  /** Calls with each value in order; stops and tells where at the first that answers false. */
  visit(take: (value: unknown) => boolean): number[] | undefined;
}

/** What is wrong with lists, and where. */
export class RaggedLists extends Error {
  constructor(
    readonly what: string,
    readonly place: readonly number[],
  ) {
    super(what);
  }
}

const maxDepth = 32;

/**
 * Checks that lists are as long as `shape` wants them (-1: all as long as the first), and, where there is no
 * shape, that they make one. `isValue`: a list that is a value itself, as a complex number is.
 */
export function nestedLists(
  value: unknown,
  shape: readonly number[] | undefined,
  isValue: (value: unknown) => boolean,
): NestedLists {
  const dims = shape === undefined ? foundDims(value, isValue) : wantedDims(value, shape);
  if (dims.length > 0) checkLengths(value, dims, []);
  return {
    dims: dims.map((size) => (size < 0 ? 0 : size)),
    visit: (take) => visitLists(value, dims.length, take),
  };
}

function foundDims(value: unknown, isValue: (value: unknown) => boolean): number[] {
  const dims: number[] = [];
  for (let at = value; Array.isArray(at) && !isValue(at); at = at[0] as unknown) {
    if (dims.length === maxDepth) throw new RaggedLists('lists stand in lists too deep', []);
    dims.push(at.length);
  }
  return dims;
}

/** -1 stays where no list tells the size. */
function wantedDims(value: unknown, shape: readonly number[]): number[] {
  let at = value;
  return shape.map((size) => {
    const found = Array.isArray(at) ? at.length : -1;
    at = Array.isArray(at) ? (at[0] as unknown) : undefined;
    return size === -1 ? found : size;
  });
}

function checkLengths(value: unknown, dims: readonly number[], place: readonly number[]): void {
  const [size = 0, ...inner] = dims;
  if (!Array.isArray(value)) throw new RaggedLists('must be a list', place);
  if (value.length !== size) {
    throw new RaggedLists(`must be a list of ${size}`, place);
  }
  if (inner.length === 0) return;
  value.forEach((item, index) => checkLengths(item, inner, [...place, index]));
}

function visitLists(
  value: unknown,
  depth: number,
  take: (value: unknown) => boolean,
): number[] | undefined {
  if (depth === 0) return take(value) ? undefined : [];
  const list = value as unknown[];
  for (let index = 0; index < list.length; index += 1) {
    if (depth === 1) {
      if (!take(list[index])) return [index];
      continue;
    }
    const place = visitLists(list[index], depth - 1, take);
    if (place !== undefined) return [index, ...place];
  }
  return undefined;
}
