import { join } from 'node:path';
import { chromium, type BrowserContext, type Page } from 'playwright-core';
import { inject } from 'vitest';
import { whenFileEnds } from './clean-up.js';
import { testFolder } from './folder.js';

export type { BrowserContext, Page as BrowserPage };

/**
 * A real browser without a window, on a fresh profile: closed, and the profile removed, when the file ends.
 * `hosts` are names that lead to another address for it, as by a DNS server of somebody else.
 */
export async function launchBrowser({
  hosts = {},
}: { hosts?: Record<string, string> } = {}): Promise<BrowserContext> {
  const folder = await testFolder();
  const rules = Object.entries(hosts).map(([name, address]) => `MAP ${name} ${address}`);
  const browser = await chromium.launchPersistentContext(join(folder, 'profile'), {
    executablePath: '/usr/bin/chromium',
    env: { PATH: inject('environment')['PATH'] ?? '', HOME: folder, TMPDIR: folder },
    timeout: 60_000,
    args: [
      ...['--no-sandbox', '--disable-gpu', '--disable-background-networking'],
      ...['--disable-component-update', '--disable-sync'],
      // Newer browsers ask before a page reaches this machine; older ones, and people, say yes.
      '--disable-features=LocalNetworkAccessChecks',
      ...(rules.length === 0 ? [] : [`--host-resolver-rules=${rules.join(',')}`]),
    ],
  });
  whenFileEnds('browser', () => browser.close());
  return browser;
}
