import type { ZipRefusal } from './zip-refused.js';

export type TreeAnswer =
  | { refused: Extract<ZipRefusal, 'duplicate_name' | 'file_and_folder' | 'too_many_entries'> }
  /** The folders that this entry is the first to need, parents first; its own path among them. */
  | { newFolders: readonly string[] };

export interface EntryTree {
  /** Takes a path that `nameProblem` has passed. After a refusal the tree is of no more use. */
  add(path: string, kind: 'file' | 'folder'): TreeAnswer;
}

/**
 * All names of an archive, to find two entries of one name. Names that differ only in their Unicode
 * normalisation are one: file systems that normalise would overwrite the first by the second. A tree
 * and not a set of paths: paths repeat their parents, and a deep one would cost its length squared.
 */
export function createEntryTree({ maxFolders }: { maxFolders: number }): EntryTree {
  const root: Folder = { name: '', entries: new Map(), stated: true };
  let folders = 0;

  /** The folder `name` in `parent`, made when absent; undefined when it cannot be. */
  function enter(parent: Folder, name: string): { folder: Folder; isNew: boolean } | Refused {
    const key = name.normalize('NFC');
    const known = parent.entries.get(key);
    if (known === undefined) {
      folders += 1;
      if (folders > maxFolders) return { refused: 'too_many_entries' };
      const folder: Folder = { name, entries: new Map(), stated: false };
      parent.entries.set(key, folder);
      return { folder, isNew: true };
    }
    if (known === file) return { refused: 'file_and_folder' };
    // Two spellings of one folder: two folders here, one on a system that normalises.
    if (known.name !== name) return { refused: 'duplicate_name' };
    return { folder: known, isNew: false };
  }

  return {
    add(path, kind) {
      const components = path.split('/');
      const fileName = kind === 'file' ? components.pop() : undefined;
      const newFolders: string[] = [];
      let at = root;
      for (const [index, name] of components.entries()) {
        const entered = enter(at, name);
        if ('refused' in entered) return entered;
        at = entered.folder;
        if (entered.isNew) newFolders.push(components.slice(0, index + 1).join('/'));
      }
      if (fileName === undefined) {
        if (at.stated) return { refused: 'duplicate_name' };
        at.stated = true;
      } else {
        const key = fileName.normalize('NFC');
        const known = at.entries.get(key);
        if (known !== undefined) {
          return { refused: known === file ? 'duplicate_name' : 'file_and_folder' };
        }
        at.entries.set(key, file);
      }
      return { newFolders };
    },
  };
}

const file = Symbol('file');

interface Folder {
  /** As its first entry spelled it. */
  name: string;
  entries: Map<string, Folder | typeof file>;
  /** Whether the folder has an entry of its own; otherwise it is only implied by what it holds. */
  stated: boolean;
}

type Refused = Extract<TreeAnswer, { refused: unknown }>;
