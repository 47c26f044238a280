import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { lstatSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { createInterface } from 'node:readline';

/** Files with their bytes, folders as undefined, by their path; bytes as latin1, also those of paths. */
export type Tree = ReadonlyMap<string, string | undefined>;

/** What a reader makes of a zip. */
export interface Reading {
  tree: Tree;
  /** Its words when it refuses the zip or a part of it. */
  complaint?: string;
}

/** A program that people take zips apart with. */
export interface ZipReader {
  name: 'unzip' | '7z' | 'python';
  /** Into a folder that is not there yet. */
  read(zip: string, folder: string): Promise<Reading>;
  close(): Promise<void>;
}

export function openReaders(): ZipReader[] {
  const none = async () => {};
  return [
    { name: 'unzip', read: (zip, to) => command('unzip', ['-o', zip, '-d', to], to), close: none },
    { name: '7z', read: (zip, to) => command('7z', ['x', '-y', `-o${to}`, zip], to), close: none },
    openPython(),
  ];
}

/** As a user with a UTF-8 locale has it. */
const env = { PATH: '/usr/bin:/bin', LC_ALL: 'C.UTF-8' };
const readerTimeMs = 60_000;

function command(program: string, args: string[], folder: string): Promise<Reading> {
  return new Promise((resolve, reject) => {
    const options = { env, timeout: readerTimeMs };
    const child = execFile(`/usr/bin/${program}`, args, options, (error, output, errors) => {
      // 1 is "with warnings" for both; what is no number is a signal or no such program.
      const code = error === null ? 0 : error.code;
      if (typeof code !== 'number') reject(new Error(`${program} did not end`, { cause: error }));
      else if (code <= 1) resolve({ tree: listFolder(folder) });
      else resolve({ tree: listFolder(folder), complaint: output + errors });
    });
    // Neither may ask anything.
    child.stdin?.end();
  });
}

/** One process for all: starting it takes longer than a hundred zips. */
function openPython(): ZipReader {
  const stdio = ['pipe', 'pipe', 'inherit'] as const;
  const child = spawn('/usr/bin/python3', ['-c', pythonReader], { env, stdio: [...stdio] });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  let turn: Promise<unknown> = Promise.resolve();
  return {
    name: 'python',
    read(zip, folder) {
      const answer = turn.then(async () => {
        child.stdin.write(`${zip}\t${folder}\n`);
        const { value, done } = await lines.next();
        if (done === true) throw new Error('python has ended');
        const tree = listFolder(folder);
        return value === 'read' ? { tree } : { tree, complaint: value };
      });
      turn = answer.catch(() => undefined);
      return answer;
    },
    async close() {
      const ended = once(child, 'exit');
      child.stdin.end();
      await ended;
    },
  };
}

const pythonReader = `
import sys, zipfile
for line in sys.stdin:
    path, folder = line.rstrip('\\n').split('\\t')
    try:
        with zipfile.ZipFile(path) as z: z.extractall(folder)
        print('read', flush=True)
    except Exception as error:
        print(ascii(error), flush=True)
`;

/**
 * Names are bytes: a reader may write ones that are no UTF-8. A zip of nothing makes no folder, one that
 * the gate refuses anything.
 */
function listFolder(folder: string): Tree {
  const tree = new Map<string, string | undefined>();
  const walk = (path: string) => {
    const at = Buffer.from(`${folder}/${path}`, 'latin1');
    for (const raw of readdirSync(at, { encoding: 'latin1' })) {
      const name = path === '' ? raw : `${path}/${raw}`;
      const inside = Buffer.from(`${folder}/${name}`, 'latin1');
      const found = lstatSync(inside);
      if (found.isDirectory()) {
        tree.set(name, undefined);
        walk(name);
      } else {
        tree.set(name, found.isFile() ? readFileSync(inside, 'latin1') : `mode ${found.mode}`);
      }
    }
  };
  if (statSync(folder, { throwIfNoEntry: false })?.isDirectory() === true) walk('');
  return tree;
}
