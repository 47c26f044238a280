import type { NetConnectOpts } from 'node:net';
import { findFreePort } from '@inference-server/local-services';
import { openLink, type Link } from './link.js';

/** Every way between two parts of a world. */
export interface Links {
  readonly all: ReadonlyMap<string, Link>;
  /** Opens one more; answers its port on 127.0.0.1. */
  open(name: string, ...targets: NetConnectOpts[]): Promise<number>;
  /** Closes those of one process. */
  closeOf(process: string): Promise<void>;
  close(): Promise<void>;
}

export function openLinks(): Links {
  const all = new Map<string, Link>();
  return {
    all,
    async open(name, ...targets) {
      const link = await openLink(name, () => targets);
      all.set(name, link);
      return link.port;
    },
    async closeOf(process) {
      for (const [name, link] of [...all].filter(([one]) => one.startsWith(`${process}-`))) {
        all.delete(name);
        await link.close();
      }
    },
    async close() {
      await Promise.all([...all.values()].map((link) => link.close()));
    },
  };
}

export function local(port: number) {
  return { host: '127.0.0.1', port };
}

/** On which nobody listens yet. */
export async function freeAddress() {
  return local(await findFreePort());
}
