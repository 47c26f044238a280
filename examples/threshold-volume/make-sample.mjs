import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { modelZip, taskZip } from './demo.mjs';
import { makeSampleVolume } from './sample-volume.mjs';

// node make-sample.mjs [FOLDER]: writes the sample volume, the task's zip and the model's zip.
const folder = process.argv[2] ?? '.';
const files = { 'ct.nii.gz': makeSampleVolume(), 'task.zip': taskZip(), 'model.zip': modelZip() };
await mkdir(folder, { recursive: true });
for (const [name, bytes] of Object.entries(files)) {
  await writeFile(join(folder, name), bytes);
  console.log(`${join(folder, name)}: ${bytes.length} bytes`);
}
