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
  add(path: string, kind: 'file' | 'folder', elsewhere: Elsewhere): TreeAnswer;
}

export interface Elsewhere {
  otherPaths: readonly string[];
  /** Two honest entries may meet here, but none meets another one's path of the other kinds. */
  blurredPaths: readonly string[];
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

  /** The folder `name` in `parent`, made when absent; undefined where a blurred path need go no further. */
  function enter(parent: Folder, name: string, as: PathKind): Entered | Refused | undefined {
    const key = name.normalize('NFC');
    const known = parent.entries.get(key);
    if (known === blurredFile && as === 'blurred') return undefined;
    if (typeof known === 'symbol') return { refused: 'file_and_folder' };
    // Two spellings of one folder: two folders here, one on a system that normalises.
    if (known !== undefined && known.name !== name) return { refused: 'duplicate_name' };
    // A blurred file was let pass there only beside a blurred folder.
    if (known?.isFileToo === true && as !== 'blurred') return { refused: 'file_and_folder' };
    const folder = known ?? createFolder(name);
    if (known === undefined) {
      parent.entries.set(key, folder);
      folders += 1;
    }
    const isNew = as === 'ours' && !folder.isOurs;
    if (isNew) {
      folder.isOurs = true;
      ourFolders += 1;
    }
    if (as !== 'blurred') folder.isBlurred = false;
    // Five other readings of each are usual at most: only names that were made for it go beyond.
    const areTooMany = ourFolders > maxFolders || folders > 6 * maxFolders;
    return areTooMany ? { refused: 'too_many_entries' } : { folder, isNew };
  }

  function place(path: string, kind: 'file' | 'folder', as: PathKind): TreeAnswer {
    const components = path.split('/');
    const fileName = kind === 'file' ? components.pop() : undefined;
    const newFolders: string[] = [];
    let at = root;
    for (const [index, name] of components.entries()) {
      const entered = enter(at, name, as);
      if (entered === undefined) return { newFolders };
      if ('refused' in entered) return entered;
      at = entered.folder;
      if (entered.isNew) newFolders.push(components.slice(0, index + 1).join('/'));
    }
    if (fileName !== undefined) {
      const refused = placeFile(at, fileName, as);
      if (refused !== undefined) return refused;
    } else if (as !== 'blurred') {
      if (at.stated) return { refused: 'duplicate_name' };
      at.stated = true;
    }
    return { newFolders };
  }

  return {
    add(path, kind, { otherPaths, blurredPaths }) {
      const answer = place(path, kind, 'ours');
      if ('refused' in answer) return answer;
      for (const otherPath of otherPaths) {
        const other = place(otherPath, kind, 'other');
        if ('refused' in other) return other;
      }
      for (const blurredPath of blurredPaths) {
        const blurred = place(blurredPath, kind, 'blurred');
        if ('refused' in blurred) return blurred;
      }
      return answer;
    },
  };
}

type PathKind = 'ours' | 'other' | 'blurred';

function placeFile(folder: Folder, name: string, as: PathKind): Refused | undefined {
  const key = name.normalize('NFC');
  const known = folder.entries.get(key);
  if (known === undefined) {
    folder.entries.set(key, as === 'blurred' ? blurredFile : file);
    return undefined;
  }
  if (typeof known === 'symbol') {
    const mayMeet = known === blurredFile && as === 'blurred';
    return mayMeet ? undefined : { refused: 'duplicate_name' };
  }
  if (!known.isBlurred || as !== 'blurred') return { refused: 'file_and_folder' };
  known.isFileToo = true;
  return undefined;
}

const file = Symbol('file');
const blurredFile = Symbol('blurred file');

interface Folder {
  /** As its first entry spelled it. */
  name: string;
  entries: Map<string, Folder | typeof file | typeof blurredFile>;
  /** Whether the folder has an entry of its own; otherwise it is only implied by what it holds. */
  stated: boolean;
  /** Whether we make it as well, and not only another reader. */
  isOurs: boolean;
  /** Whether nothing but blurred paths lead here. */
  isBlurred: boolean;
  /** Whether a blurred path of a file leads here as well. */
  isFileToo: boolean;
}

function createFolder(name: string): Folder {
  return {
    name,
    entries: new Map(),
    stated: false,
    isOurs: false,
    isBlurred: true,
    isFileToo: false,
  };
}

interface Entered {
  folder: Folder;
  /** Whether this entry is the first of ours in it. */
  isNew: boolean;
}

type Refused = Extract<TreeAnswer, { refused: unknown }>;
