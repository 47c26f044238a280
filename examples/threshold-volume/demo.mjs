import { readFileSync } from 'node:fs';
import AdmZip from 'adm-zip';
import { makeSampleVolume } from './sample-volume.mjs';

const thresholds = new URL('model/thresholds.json', import.meta.url);

/**
 * The model's files: the threshold table.
 * @returns {Buffer}
 */
export function modelZip() {
  return zipOf({ 'thresholds.json': readFileSync(thresholds) });
}

/**
 * One task's input: the sample volume.
 * @returns {Buffer}
 */
export function taskZip() {
  return zipOf({ 'ct.nii.gz': makeSampleVolume() });
}

/**
 * What came back, for a terminal: the files with their sizes, then the statistics as a table.
 *
 * @param {Buffer} zip the output of a task
 * @returns {string} several lines, none at the end
 */
export function describeResult(zip) {
  const files = new AdmZip(zip).getEntries().filter((entry) => !entry.isDirectory);
  const { volumes } = JSON.parse(contentOf(files, 'statistics.json'));
  return [
    ...table(files.map((file) => [file.entryName, `${file.header.size} bytes`])),
    ...volumes.flatMap(({ volume, size, spacing_mm: spacing, regions }) => [
      '',
      `${volume}: ${size.join('×')} voxels of ${spacing.join('×')} mm`,
      ...table([
        ['region', 'voxels', 'ml', 'mean HU', 'std HU', 'min HU', 'max HU'],
        ...regions.map(statisticsRow),
      ]),
    ]),
  ].join('\n');
}

function zipOf(files) {
  const zip = new AdmZip();
  for (const [name, content] of Object.entries(files)) zip.addFile(name, content);
  return zip.toBuffer();
}

function contentOf(files, name) {
  const file = files.find(({ entryName }) => entryName === name);
  if (file === undefined) throw new Error(`The result holds no ${name}.`);
  return file.getData().toString('utf8');
}

function statisticsRow({ name, voxels, volume_ml, mean_hu, std_hu, min_hu, max_hu }) {
  const numbers = [volume_ml, mean_hu, std_hu, min_hu, max_hu];
  return [name, voxels, ...numbers.map((number) => number?.toFixed(1) ?? '-')];
}

/** Columns as wide as their widest cell: the first one to the left, the others to the right. */
function table(rows) {
  const widths = rows[0].map((_, column) =>
    Math.max(...rows.map((row) => `${row[column]}`.length)),
  );
  const cell = (value, column) =>
    column === 0 ? `${value}`.padEnd(widths[column]) : `${value}`.padStart(widths[column]);
  return rows.map((row) => `  ${row.map(cell).join('  ')}`);
}
