/** What an untrusted zip may hold. */
export interface ZipLimits {
  /** The sum of the sizes that its entries declare. */
  maxUnzippedBytes: number;
  /** Its entries; also the folders that it only implies. */
  maxEntries: number;
  /** Unzipped bytes for each byte of the file; counted above 64 MiB unzipped. */
  maxRatio: number;
}

export const defaultZipLimits: ZipLimits = {
  maxUnzippedBytes: 20 * 1024 ** 3,
  maxEntries: 50_000,
  maxRatio: 200,
};

/** For a zip that has passed the gate. */
export const noZipLimits: ZipLimits = {
  maxUnzippedBytes: Infinity,
  maxEntries: Infinity,
  maxRatio: Infinity,
};

/** Below this many unzipped bytes nothing is a bomb, and small files pack better than 200 : 1. */
export const ratioFreeBytes = 64 * 1024 ** 2;
