import { hostileContents } from './hostile-contents.js';
import { hostileLocalHeaders } from './hostile-local-headers.js';
import { hostileNames } from './hostile-names.js';
import { hostileStructures } from './hostile-structures.js';
import type { HostileZip } from './hostile-zip.js';

/** One zip or more for each reason that the gate can give. */
export const hostileZips: readonly HostileZip[] = [
  ...hostileStructures,
  ...hostileLocalHeaders,
  ...hostileNames,
  ...hostileContents,
];
