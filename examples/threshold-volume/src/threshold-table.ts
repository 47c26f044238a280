import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { InputError } from './input-error.js';

/** A region is every voxel with lowerHu ≤ value < upperHu. */
export interface Region {
  /** The value of its voxels in the mask: 1 for the first row of the table. */
  label: number;
  name: string;
  /** -Infinity when the table sets no lower bound. */
  lowerHu: number;
  /** Infinity when the table sets no upper bound. */
  upperHu: number;
}

/** Labels are single bytes, and 0 is the background. */
const maxRegions = 255;

/**
 * Reads `thresholds.json` or `thresholds.csv` out of the model's folder. Regions must not overlap,
 * since a voxel of the mask has one label. Throws {@link InputError}.
 */
export async function readThresholdTable(modelFolder: string): Promise<Region[]> {
  const [json, csv] = await Promise.all([
    readIfThere(join(modelFolder, 'thresholds.json')),
    readIfThere(join(modelFolder, 'thresholds.csv')),
  ]);
  if (json !== undefined && csv !== undefined) {
    throw new InputError('The model has both thresholds.json and thresholds.csv; leave one.');
  }
  if (json !== undefined) return inTable('thresholds.json', () => checkRegions(jsonRows(json)));
  if (csv !== undefined) return inTable('thresholds.csv', () => checkRegions(csvRows(csv)));
  throw new InputError('The model has neither thresholds.json nor thresholds.csv.');
}

/** A row as it stands in the table; no bound is undefined. */
interface Row {
  name: unknown;
  lowerHu: unknown;
  upperHu: unknown;
}

async function readIfThere(path: string): Promise<string | undefined> {
  try {
    return (await readFile(path, 'utf8')).replace(/^\uFEFF/, '');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

function inTable(file: string, read: () => Region[]): Region[] {
  try {
    return read();
  } catch (error) {
    if (error instanceof InputError) throw new InputError(`${file}: ${error.message}`);
    throw error;
  }
}

/** `{ "regions": [{ "name": …, "lower_hu": …, "upper_hu": … }] }`; a missing or null bound is open. */
function jsonRows(text: string): Row[] {
  let table: unknown;
  try {
    table = JSON.parse(text);
  } catch (error) {
    throw new InputError(`is not JSON: ${(error as Error).message}`);
  }
  const regions: unknown = isObject(table) ? table['regions'] : undefined;
  if (!Array.isArray(regions)) throw new InputError('has no list "regions"');
  return regions.map((region: unknown, index) => {
    if (!isObject(region)) throw new InputError(`region ${index + 1} is not an object`);
    const { name, lower_hu: lower, upper_hu: upper } = region;
    return { name, lowerHu: lower ?? undefined, upperHu: upper ?? undefined };
  });
}

/** A heading `name,lower_hu,upper_hu`, then one region a line; an empty bound is open. */
function csvRows(text: string): Row[] {
  const lines = text.split(/\r?\n/).filter((line) => line.trim() !== '');
  const cells = lines.map((line) => line.split(',').map((cell) => cell.trim()));
  if (cells[0]?.join() !== 'name,lower_hu,upper_hu') {
    throw new InputError('does not start with the heading name,lower_hu,upper_hu');
  }
  return cells.slice(1).map((row, index) => {
    if (row.length !== 3) throw new InputError(`region ${index + 1} has not three fields`);
    const [name, lower, upper] = row;
    return { name, lowerHu: csvNumber(lower), upperHu: csvNumber(upper) };
  });
}

function csvNumber(cell: string | undefined): unknown {
  if (cell === undefined || cell === '') return undefined;
  return /^[-+]?\d+(\.\d+)?$/.test(cell) ? Number(cell) : cell;
}

function checkRegions(rows: Row[]): Region[] {
  if (rows.length === 0) throw new InputError('names no region');
  if (rows.length > maxRegions) throw new InputError(`has more than ${maxRegions} regions`);
  const regions = rows.map(checkRegion);
  const names = new Set<string>();
  for (const { name } of regions) {
    if (names.has(name)) throw new InputError(`names the region "${name}" twice`);
    names.add(name);
  }
  const ordered = regions.toSorted((a, b) => a.lowerHu - b.lowerHu || a.label - b.label);
  for (const [index, region] of ordered.entries()) {
    const next = ordered[index + 1];
    if (next !== undefined && next.lowerHu < region.upperHu) {
      throw new InputError(`the regions "${region.name}" and "${next.name}" overlap`);
    }
  }
  return regions;
}

function checkRegion({ name, lowerHu, upperHu }: Row, index: number): Region {
  if (typeof name !== 'string' || !/^[\p{L}\p{N}][\p{L}\p{N} ._-]{0,63}$/u.test(name)) {
    throw new InputError(
      `region ${index + 1} needs a name of 1 to 64 letters, digits, blanks, dots, _ or -`,
    );
  }
  const lower = checkBound(name, 'lower_hu', lowerHu, -Infinity);
  const upper = checkBound(name, 'upper_hu', upperHu, Infinity);
  if (lower >= upper) throw new InputError(`region "${name}": lower_hu is not below upper_hu`);
  return { label: index + 1, name, lowerHu: lower, upperHu: upper };
}

function checkBound(name: string, field: string, value: unknown, open: number): number {
  if (value === undefined) return open;
  if (typeof value === 'number' && Number.isFinite(value)) return value;
  throw new InputError(`region "${name}": ${field} is not a number`);
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
