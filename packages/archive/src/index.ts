export { checkZip, type ZipRules, type ZipSummary, type ZipVerdict } from './check-zip.js';
export type { OutputRefusal } from './output-refused.js';
export { tarEnd, tarHeader, tarPadding, type NewTarEntry } from './tar-header.js';
export { tarToZip, type TarToZipOptions } from './tar-to-zip.js';
export { defaultZipLimits, type ZipLimits } from './zip-limits.js';
export { createZipGate, type ZipGate } from './zip-gate.js';
export { refuseZip, zipRefusals, type ZipFinding, type ZipRefusal } from './zip-refused.js';
export { zipToTar } from './zip-to-tar.js';
