export { buildFromFiles, contentLabel } from './build-from-files.mjs';
export { busyboxRootfs } from './busybox-rootfs.mjs';
export { connectEngine } from './engine.mjs';
export { nodeRootfs } from './node-rootfs.mjs';
export { directory, file, link, localFile } from './rootfs.mjs';
