export type { BlobStore, ByteRange, ListedFile, OpenBlob, ReceivedFile } from './blob-store.js';
export { createDiskBlobStore } from './disk-blob-store.js';
export { openBlobStore } from './open-blob-store.js';
export { discardFile, receiveFile, type ReceiveOptions } from './receive-file.js';
export { createStagingSpace, type SpaceReservation, type StagingSpace } from './staging-space.js';
