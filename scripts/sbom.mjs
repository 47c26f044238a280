// npm run sbom: the bill of materials of the lock file, as CycloneDX, in dist/sbom.cdx.json. The same lock
// file gives the same file, whenever and wherever it is made.
import { mkdir, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { createSbom } from './create-sbom.mjs';

const repository = fileURLToPath(new URL('..', import.meta.url));
const path = join(repository, 'dist', 'sbom.cdx.json');
const sbom = await createSbom(repository);
await mkdir(dirname(path), { recursive: true });
await writeFile(path, `${JSON.stringify(sbom, undefined, 2)}\n`);
console.log(`${path}: ${sbom.components.length} components`);
