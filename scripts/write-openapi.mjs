// Writes the OpenAPI documents of both APIs into docs/openapi/; with --check compares instead, and
// fails when a document is not what the code says.
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { publicOpenApiDocument } from '../apps/public-api/dist/plugins/docs.js';
import { privateApiDocument } from '../apps/private-api/dist/app.js';

const folder = new URL('../docs/openapi/', import.meta.url);
const documents = {
  'public-api.json': publicOpenApiDocument(),
  'private-api.json': privateApiDocument,
};

await mkdir(folder, { recursive: true });
for (const [name, document] of Object.entries(documents)) {
  const path = new URL(name, folder);
  const text = `${JSON.stringify(document, undefined, 2)}\n`;
  if (!process.argv.includes('--check')) {
    await writeFile(path, text);
  } else if ((await readFile(path, 'utf8').catch(() => '')) !== text) {
    console.error(`docs/openapi/${name} is not what the code says: npm run docs:openapi`);
    process.exitCode = 1;
  }
}
process.exit();
