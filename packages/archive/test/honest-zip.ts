import { chmod, mkdir, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';

/** Something that makes zips, and what must come of the one that it makes. */
export interface HonestMaker {
  what: string;
  /** The program that makes it; a machine that lacks it leaves the maker out. */
  needs?: string;
  /** Writes the zip; `tree` is a folder that holds {@link wholeTree}. */
  make(place: { tree: string; zip: string }): Promise<unknown>;
  /** {@link wholeTree} when absent. */
  gives?: Tree;
}

/** Files by their paths; folders with or without content. */
export interface Tree {
  files: Readonly<Record<string, Buffer>>;
  folders: readonly string[];
}

/** What the makers store differently: nothing, what packs, what does not, other letters, no file. */
export const wholeTree: Tree = {
  files: {
    'Größe/ü 日本.txt': Buffer.from('hello'),
    noise: noiseOf(20_000),
    'sub/run.sh': Buffer.alloc(0),
    'sub/text.txt': Buffer.alloc(50_000, 'a line of a text that packs\n'),
    zeros: Buffer.alloc(100_000),
  },
  folders: ['Größe', 'sub', 'sub/empty'],
};

/** Without the folder that no file is in. */
export const filledTree: Tree = { ...wholeTree, folders: ['Größe', 'sub'] };

export async function writeTree(folder: string, tree: Tree): Promise<void> {
  for (const path of tree.folders) await mkdir(join(folder, path), { recursive: true });
  for (const [path, content] of Object.entries(tree.files)) {
    await mkdir(dirname(join(folder, path)), { recursive: true });
    await writeFile(join(folder, path), content);
    if (path.endsWith('.sh')) await chmod(join(folder, path), 0o755);
  }
}

/** The tree within one more folder. */
export function inFolder(name: string, { files, folders }: Tree): Tree {
  return {
    files: Object.fromEntries(
      Object.entries(files).map(([path, content]) => [`${name}/${path}`, content]),
    ),
    folders: [name, ...folders.map((path) => `${name}/${path}`)],
  };
}

/** The same bytes each time, of which no two alike follow each other often. */
function noiseOf(length: number): Buffer {
  const bytes = Buffer.alloc(length);
  let state = 1;
  for (let at = 0; at < length; at++) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    bytes[at] = state >>> 24;
  }
  return bytes;
}
