import type { ZipRefusal } from './zip-refused.js';

/** A component as file systems allow it, and a path as we mount it under a folder of the model's. */
const maxComponentBytes = 255;
const maxPathBytes = 1024;

/**
 * The rule that a path breaks, or undefined when it leads nowhere but into the folder under which it is
 * made, on any system. Not held against it: what Windows or macOS alone cannot keep apart or name, such as
 * `a` beside `A`, `CON` or `a:b`; on Linux they are files like others. `path` has no slash at its end. In
 * latin1 it stands for bytes whose encoding is not known, so that those above ASCII may be any letters.
 */
export function nameProblem(
  path: string,
  encoding: 'utf8' | 'latin1' = 'utf8',
): ZipRefusal | undefined {
  if (control[encoding].test(path)) return 'control_character';
  if (path.includes('\\')) return 'backslash';
  if (path.startsWith('/')) return 'absolute_name';
  if (/^[A-Za-z]:/.test(path)) return 'drive_name';
  for (const component of path.split('/')) {
    if (component === '') return 'empty_name';
    if (component === '.') return 'dot_component';
    if (component === '..') return 'traversal';
    if (Buffer.byteLength(component, encoding) > maxComponentBytes) return 'component_too_long';
  }
  return Buffer.byteLength(path, encoding) > maxPathBytes ? 'path_too_long' : undefined;
}

// eslint-disable-next-line no-control-regex
const control = { utf8: /\p{Cc}/u, latin1: /[\0-\x1f\x7f]/ } as const;
