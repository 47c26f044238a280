import { createHash } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { extract, type Headers } from 'tar-stream';
import { describe, expect, it } from 'vitest';
import { testFolder } from '@inference-server/testing';
import { hashEntries, tarOf, type RootfsEntry } from '../src/rootfs.mjs';
