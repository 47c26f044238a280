import type { ZipRefusal } from './zip-refused.js';

export type TreeAnswer =
  | { refused: Extract<ZipRefusal, 'duplicate_name' | 'file_and_folder' | 'too_many_entries'> }
  /** The folders that this entry is the first to need, parents first; its own path among them. */
  | { newFolders: readonly string[] };

export interface EntryTree {
  /**
   * Takes a path that `nameProblem` has passed, and those where other readers may put the same entry:
   * no other entry may stand there, but they make no folders of ours. After a refusal the tree is of
   * no more use.
   */
  add(path: string, kind: 'file' | 'folder', otherPaths?: readonly string[]): TreeAnswer;
}

/**
 * All names of an archive, to find two entries of one name. Names that differ only in their Unicode
 * normalisation are one: file systems that normalise would overwrite the first by the second. A tree
 * and not a set of paths: paths repeat their parents, and a deep one would cost its length squared.
 */
export function createEntryTree({ maxFolders }: { maxFolders: number }): EntryTree {
  const root = createFolder('');
  let folders = 0;
  let ourFolders = 0;

  /** The folder `name` in `parent`, made when absent; a refusal when it cannot be. */
  function enter(parent: Folder, name: string, isOurs: boolean): Entered | Refused {
    const key = name.normalize('NFC');
    const known = parent.entries.get(key);
    if (known === file) return { refused: 'file_and_folder' };
    // Two spellings of one folder: two folders here, one on a system that normalises.
    if (known !== undefined && known.name !== name) return { refused: 'duplicate_name' };
    const folder = known ?? createFolder(name);
    if (known === undefined) {
      parent.entries.set(key, folder);
      folders += 1;
    }
    const isNew = isOurs && !folder.isOurs;
    if (isNew) {
      folder.isOurs = true;
      ourFolders += 1;
    }
    // Three other readings of each at most: only names that were made for it go beyond.
    const areTooMany = ourFolders > maxFolders || folders > 4 * maxFolders;
    return areTooMany ? { refused: 'too_many_entries' } : { folder, isNew };
  }

  function place(path: string, kind: 'file' | 'folder', isOurs: boolean): TreeAnswer {
    const components = path.split('/');
    const fileName = kind === 'file' ? components.pop() : undefined;
    const newFolders: string[] = [];
    let at = root;
    for (const [index, name] of components.entries()) {
      const entered = enter(at, name, isOurs);
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
  }

  return {
    add(path, kind, otherPaths = []) {
      const answer = place(path, kind, true);
      if ('refused' in answer) return answer;
      for (const otherPath of otherPaths) {
        const other = place(otherPath, kind, false);
        if ('refused' in other) return other;
      }
      return answer;
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
  /** Whether we make it as well, and not only another reader. */
  isOurs: boolean;
}

function createFolder(name: string): Folder {
  return { name, entries: new Map(), stated: false, isOurs: false };
}

interface Entered {
  folder: Folder;
  /** Whether this entry is the first of ours in it. */
  isNew: boolean;
}

type Refused = Extract<TreeAnswer, { refused: unknown }>;
