import type { Labels } from '../container-engine.js';

/** The engine's filter for what carries all the labels. */
export function labelFilters(labels: Labels): { label: string[] } {
  return { label: Object.entries(labels).map(([name, value]) => `${name}=${value}`) };
}
