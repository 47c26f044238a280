import { fileURLToPath } from 'node:url';

/** The built file of another app of this checkout, which is run as a process of its own. */
export function appFile(app: string, file = 'main.js'): string {
  return fileURLToPath(new URL(`../../${app}/dist/${file}`, import.meta.url));
}
