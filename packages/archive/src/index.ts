export { checkZip, type ZipRules, type ZipSummary } from './check-zip.js';
export type { OutputRefusal } from './output-refused.js';
export { tarEnd, tarHeader, type NewTarEntry } from './tar-header.js';
export { tarToZip, type TarToZipOptions } from './tar-to-zip.js';
export { defaultZipLimits, type ZipLimits } from './zip-limits.js';
export { zipRefusals, type ZipRefusal } from './zip-refused.js';
export { zipToTar } from './zip-to-tar.js';
