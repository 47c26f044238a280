import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  statSync,
  writeFileSync,
  type Stats,
} from 'node:fs';
import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

/** Files with their bytes, folders as undefined, by their path; bytes as latin1, also those of paths. */
export type Tree = ReadonlyMap<string, string | undefined>;

/** What a reader makes of a zip. */
export interface Reading {
  tree: Tree;
  /** Its words when it refuses the zip or a part of it. */
  complaint?: string;
}

export type ReaderName =
  | 'unzip'
  /** In a locale without letters beyond ASCII. */
  | 'unzip, C'
  | '7z'
  | 'python'
  | 'bsdtar'
  /** By the directory, and by the local headers. */
  | 'java'
  | 'java, streamed';

/** A program that people take zips apart with. */
export interface ZipReader {
  name: ReaderName;
  /** Into a folder that is not there yet. */
  read(zip: string, folder: string): Promise<Reading>;
  close(): Promise<void>;
}

/** bsdtar and Java only where they are: nothing of ours installs them. */
export function openReaders(): ZipReader[] {
  const unzip = (zip: string, to: string) => command('unzip', ['-o', zip, '-d', to], to, 1);
  const unzipInC = (zip: string, to: string) =>
    command('env', ['LC_ALL=C', 'unzip', '-o', zip, '-d', to], to, 1);
  const sevenZip = (zip: string, to: string) => command('7z', ['x', '-y', `-o${to}`, zip], to, 1);
  const bsdtar = (zip: string, to: string) => {
    mkdirSync(to);
    return command('bsdtar', ['-xf', zip, '-C', to], to, 0);
  };
  const isThere = (program: string) => existsSync(`/usr/bin/${program}`);
  return [
    { name: 'unzip', read: unzip, close: none },
    { name: 'unzip, C', read: unzipInC, close: none },
    { name: '7z', read: sevenZip, close: none },
    openServer('python', 'python3', ['-c', pythonReader]),
    ...(isThere('bsdtar') ? [{ name: 'bsdtar', read: bsdtar, close: none } as const] : []),
    ...(isThere('javac') ? openJavas() : []),
  ];
}

const none = async () => {};

/** As a user with a UTF-8 locale has it. */
const env = { PATH: '/usr/bin:/bin', LC_ALL: 'C.UTF-8' };
const readerTimeMs = 60_000;

/** Codes up to `warned` are "with warnings" at most. */
function command(
  program: string,
  args: string[],
  folder: string,
  warned: number,
): Promise<Reading> {
  return new Promise((resolve, reject) => {
    const options = { env, timeout: readerTimeMs };
    const child = execFile(`/usr/bin/${program}`, args, options, (error, output, errors) => {
      // What is no number is a signal or no such program.
      const code = error === null ? 0 : error.code;
      if (typeof code !== 'number') reject(new Error(`${program} did not end`, { cause: error }));
      else if (code <= warned) resolve({ tree: listFolder(folder) });
      else resolve({ tree: listFolder(folder), complaint: output + errors });
    });
    // None may ask anything.
    child.stdin?.end();
  });
}

/**
 * One process for all: starting it takes longer than a hundred zips. It gets lines of a zip and a folder
 * and answers each with "read" or what it has against it.
 */
function openServer(name: ReaderName, program: string, args: string[], close = none): ZipReader {
  const stdio = ['pipe', 'pipe', 'inherit'] as const;
  const child = spawn(`/usr/bin/${program}`, args, { env, stdio: [...stdio] });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  let turn: Promise<unknown> = Promise.resolve();
  return {
    name,
    read(zip, folder) {
      const answer = turn.then(async () => {
        child.stdin.write(`${zip}\t${folder}\n`);
        const { value, done } = await lines.next();
        if (done === true) throw new Error(`${name} has ended`);
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
      await close();
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

/** A processor each, or they would take all of them to start. */
function openJavas(): ZipReader[] {
  const folder = mkdtempSync(join(tmpdir(), 'java-reader-'));
  const source = join(folder, 'Unzip.java');
  writeFileSync(source, javaReader);
  const small = ['-XX:ActiveProcessorCount=1', '-XX:TieredStopAtLevel=1', '-Xmx256m', source];
  const clean = () => rm(folder, { recursive: true });
  return [
    openServer('java', 'java', [...small, 'file']),
    openServer('java, streamed', 'java', [...small, 'stream'], clean),
  ];
}

const javaReader = `
import java.io.*;
import java.nio.charset.StandardCharsets;
import java.nio.file.*;
import java.util.*;
import java.util.zip.*;

public class Unzip {
  public static void main(String[] args) throws Exception {
    BufferedReader lines = new BufferedReader(new InputStreamReader(System.in));
    for (String line; (line = lines.readLine()) != null;) {
      String[] paths = line.split("\\t");
      String answer = "read";
      try {
        if (args[0].equals("file")) readFile(paths[0], Path.of(paths[1]));
        else readStream(paths[0], Path.of(paths[1]));
      } catch (Exception error) {
        answer = error.toString().replaceAll("\\s+", " ");
      }
      System.out.println(answer);
    }
  }

  static void readFile(String zip, Path folder) throws IOException {
    try (ZipFile file = new ZipFile(zip)) {
      for (ZipEntry entry : Collections.list(file.entries())) {
        write(entry, file.getInputStream(entry), folder);
      }
    }
  }

  static void readStream(String zip, Path folder) throws IOException {
    int entries = 0;
    try (ZipInputStream stream = new ZipInputStream(new FileInputStream(zip))) {
      for (ZipEntry entry; (entry = stream.getNextEntry()) != null;) {
        write(entry, stream, folder);
        stream.closeEntry();
        entries += 1;
      }
    }
    try (ZipFile file = new ZipFile(zip, StandardCharsets.ISO_8859_1)) {
      if (entries < file.size()) throw new IOException("ended before all entries");
    }
  }

  static void write(ZipEntry entry, InputStream content, Path folder) throws IOException {
    Path path = folder.resolve(entry.getName()).normalize();
    if (!path.startsWith(folder) || path.equals(folder)) throw new IOException("leads out");
    Files.createDirectories(entry.isDirectory() ? path : path.getParent());
    if (!entry.isDirectory()) Files.copy(content, path);
  }
}
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
        tree.set(name, contentOf(inside, found));
      }
    }
  };
  if (statSync(folder, { throwIfNoEntry: false })?.isDirectory() === true) walk('');
  return tree;
}

/** Some readers give a file the length that a refused zip makes up. */
function contentOf(path: Buffer, found: Stats): string {
  if (!found.isFile()) return `mode ${found.mode}`;
  return found.size > maxReadBytes ? `${found.size} bytes` : readFileSync(path, 'latin1');
}

const maxReadBytes = 20_000_000;
