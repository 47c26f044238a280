import type { ZipRefusal } from './zip-refused.js';

/** A component as file systems allow it, and a path as we mount it under a folder of the model's. */
const maxComponentBytes = 255;
const maxPathBytes = 1024;

/**
 * The rule that a path breaks, or undefined when it may be made under any folder on any system.
 * `path` has no slash at its end.
 */
export function nameProblem(path: string): ZipRefusal | undefined {
  if (/\p{Cc}/u.test(path)) return 'control_character';
  if (path.includes('\\')) return 'backslash';
  if (path.startsWith('/')) return 'absolute_name';
  if (/^[A-Za-z]:/.test(path)) return 'drive_name';
  for (const component of path.split('/')) {
    if (component === '') return 'empty_name';
    if (component === '.') return 'dot_component';
    if (component === '..') return 'traversal';
    if (Buffer.byteLength(component) > maxComponentBytes) return 'component_too_long';
  }
  return Buffer.byteLength(path) > maxPathBytes ? 'path_too_long' : undefined;
}
