import { execFile } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { filledTree, inFolder, wholeTree, type HonestMaker, type Tree } from './honest-zip.js';

const run = promisify(execFile);
const zip = '/usr/bin/zip';
const sevenZip = '/usr/bin/7z';
const git = '/usr/bin/git';

/** Runs a line of shell in the tree, with the zip's path as `$ZIP`. */
function shell(what: string, needs: string, line: string, gives?: Tree): HonestMaker {
  return {
    what,
    needs,
    make: ({ tree, zip: path }) =>
      run('/bin/sh', ['-ec', line], {
        cwd: tree,
        env: { PATH: '/usr/bin:/bin', LC_ALL: 'C.UTF-8', ZIP_PATH: path },
      }),
    ...(gives === undefined ? {} : { gives }),
  };
}

const text: Tree = {
  files: { 'a.txt': Buffer.from('one'), 'b.txt': Buffer.from('two') },
  folders: [],
};
const twoFiles = 'cd "$(mktemp -d "$ZIP_PATH.XXXXXX")"; printf one > a.txt; printf two > b.txt;';
const subTree: Tree = {
  files: {
    'sub/run.sh': wholeTree.files['sub/run.sh']!,
    'sub/text.txt': wholeTree.files['sub/text.txt']!,
  },
  folders: ['sub', 'sub/empty'],
};
/** What comes out of a pipe is named so. */
const unnamed: Tree = { files: { '-': Buffer.from('from a pipe') }, folders: [] };

const infoZip: readonly HonestMaker[] = [
  shell('a folder', zip, 'zip -qr "$ZIP_PATH" .'),
  shell('files by name', zip, `${twoFiles} zip -q "$ZIP_PATH" a.txt b.txt`, text),
  shell('files without their folders', zip, 'zip -qrD "$ZIP_PATH" .', filledTree),
  shell('stored', zip, 'zip -qr0 "$ZIP_PATH" .'),
  shell('packed as well as it can', zip, 'zip -qr9 "$ZIP_PATH" .'),
  shell('without extra fields', zip, 'zip -qrX "$ZIP_PATH" .'),
  shell('names in UTF-8', zip, 'zip -qr -UN=UTF8 "$ZIP_PATH" .'),
  shell('streamed to a pipe', zip, 'zip -qr - . | cat > "$ZIP_PATH"'),
  shell('streamed and stored', zip, 'zip -qr0 - . | cat > "$ZIP_PATH"'),
  shell('with descriptors in a file', zip, 'zip -qr -fd "$ZIP_PATH" .'),
  shell('ZIP64 by wish', zip, 'zip -qr -fz "$ZIP_PATH" .'),
  shell('content from a pipe', zip, 'printf "from a pipe" | zip -q "$ZIP_PATH" -', unnamed),
  shell('from a pipe to a pipe', zip, 'printf "from a pipe" | zip -q | cat > "$ZIP_PATH"', unnamed),
  shell(
    'content from a pipe, stored, without ZIP64',
    zip,
    'printf "from a pipe" | zip -q0 -fz- "$ZIP_PATH" -',
    unnamed,
  ),
  shell(
    'a file that was added',
    zip,
    `${twoFiles} zip -q "$ZIP_PATH" a.txt; zip -qu "$ZIP_PATH" b.txt`,
    text,
  ),
  shell(
    'a file that was changed',
    zip,
    `${twoFiles} printf other > b.txt; zip -q "$ZIP_PATH" a.txt b.txt; printf two > b.txt;` +
      ' zip -q "$ZIP_PATH" b.txt',
    text,
  ),
  shell(
    'a file that was deleted',
    zip,
    `${twoFiles} printf c > c.txt; zip -q "$ZIP_PATH" c.txt a.txt b.txt; zip -qd "$ZIP_PATH" c.txt`,
    text,
  ),
  shell(
    'a file that grew with -g',
    zip,
    `${twoFiles} zip -q "$ZIP_PATH" a.txt; zip -qg "$ZIP_PATH" b.txt`,
    text,
  ),
  shell('with comments', zip, 'echo of the zip | zip -qrz "$ZIP_PATH" .'),
];

const sevenZips: readonly HonestMaker[] = [
  shell('a folder', sevenZip, '7z a -tzip "$ZIP_PATH" .'),
  shell('all names in UTF-8', sevenZip, '7z a -tzip -mcu=on "$ZIP_PATH" .'),
  shell('stored', sevenZip, '7z a -tzip -mx0 "$ZIP_PATH" .'),
  shell('packed as well as it can', sevenZip, '7z a -tzip -mx9 "$ZIP_PATH" .'),
  shell('all times', sevenZip, '7z a -tzip -mtc=on "$ZIP_PATH" .'),
  shell(
    'content from a pipe',
    sevenZip,
    'printf "from a pipe" | 7z a -tzip -si- "$ZIP_PATH"',
    unnamed,
  ),
  shell('to a pipe', sevenZip, '7z a -tzip -so x . | cat > "$ZIP_PATH"'),
  shell(
    'a file that was added and one that was deleted',
    sevenZip,
    `${twoFiles} printf c > c.txt; 7z a -tzip "$ZIP_PATH" c.txt a.txt; 7z u "$ZIP_PATH" b.txt;` +
      ' 7z d "$ZIP_PATH" c.txt',
    text,
  ),
];

/** git keeps no empty folders. */
const committed =
  'git -c init.defaultBranch=main init -q --separate-git-dir "$ZIP_PATH.git" . && rm .git &&' +
  ' export GIT_DIR="$ZIP_PATH.git" GIT_WORK_TREE=. GIT_CONFIG_GLOBAL=/dev/null &&' +
  ' git add . && git -c user.name=a -c user.email=a@b commit -qm all &&';

const gits: readonly HonestMaker[] = [
  shell('archive', git, `${committed} git archive --format=zip -o "$ZIP_PATH" HEAD`, filledTree),
  shell(
    'archive with a folder before all',
    git,
    `${committed} git archive --format=zip --prefix=all/ -o "$ZIP_PATH" HEAD`,
    inFolder('all', filledTree),
  ),
];

const libarchives: readonly HonestMaker[] = [
  shell('bsdtar', '/usr/bin/bsdtar', 'bsdtar -cf "$ZIP_PATH" --format zip *'),
  shell('bsdtar to a pipe', '/usr/bin/bsdtar', 'bsdtar -c --format zip * | cat > "$ZIP_PATH"'),
  shell('CMake', '/usr/bin/cmake', 'cmake -E tar cf "$ZIP_PATH" --format=zip *'),
];

const javas: readonly HonestMaker[] = [
  shell('jar without a manifest', '/usr/bin/jar', 'jar cMf "$ZIP_PATH" *'),
  shell('jar without a manifest, stored', '/usr/bin/jar', 'jar cM0f "$ZIP_PATH" *'),
  shell('jar to a pipe', '/usr/bin/jar', 'jar cM * | cat > "$ZIP_PATH"'),
  {
    what: 'ZipOutputStream',
    needs: '/usr/bin/javac',
    make: ({ tree, zip: path }) => runJava(path, ['deflated', tree, path]),
  },
  {
    what: 'ZipOutputStream, stored',
    needs: '/usr/bin/javac',
    make: ({ tree, zip: path }) => runJava(path, ['stored', tree, path]),
  },
  {
    what: 'the file system of a zip',
    needs: '/usr/bin/javac',
    make: ({ tree, zip: path }) => runJava(path, ['files', tree, path]),
    gives: subTree,
  },
];

async function runJava(path: string, args: string[]): Promise<void> {
  const source = join(dirname(path), 'Zip.java');
  await writeFile(source, javaSource);
  const env = { PATH: '/usr/bin:/bin', LC_ALL: 'C.UTF-8' };
  await run('/usr/bin/java', ['-Dsun.jnu.encoding=UTF-8', source, ...args], { env });
}

const javaSource = `
import java.net.URI;
import java.nio.file.*;
import java.util.*;
import java.util.stream.*;
import java.util.zip.*;

public class Zip {
  public static void main(String[] args) throws Exception {
    Path tree = Path.of(args[1]);
    List<Path> paths;
    try (Stream<Path> found = Files.walk(tree)) {
      paths = found.filter(path -> !path.equals(tree)).sorted().collect(Collectors.toList());
    }
    if (args[0].equals("files")) {
      URI uri = URI.create("jar:" + Path.of(args[2]).toUri());
      try (FileSystem zip = FileSystems.newFileSystem(uri, Map.of("create", "true"))) {
        for (Path path : paths) {
          String name = tree.relativize(path).toString();
          // It forgets to say of folders that their names are UTF-8.
          if (name.startsWith("sub")) Files.copy(path, zip.getPath(name));
        }
      }
      return;
    }
    try (ZipOutputStream zip = new ZipOutputStream(Files.newOutputStream(Path.of(args[2])))) {
      for (Path path : paths) {
        boolean folder = Files.isDirectory(path);
        byte[] content = folder ? new byte[0] : Files.readAllBytes(path);
        ZipEntry entry = new ZipEntry(tree.relativize(path) + (folder ? "/" : ""));
        if (args[0].equals("stored")) {
          CRC32 crc = new CRC32();
          crc.update(content);
          entry.setMethod(ZipEntry.STORED);
          entry.setSize(content.length);
          entry.setCrc(crc.getValue());
        }
        zip.putNextEntry(entry);
        zip.write(content);
        zip.closeEntry();
      }
    }
  }
}
`;

const named = (name: string, makers: readonly HonestMaker[]): HonestMaker[] =>
  makers.map((maker) => ({ ...maker, what: `${name}: ${maker.what}` }));

/** Programs that people make zips with. */
export const honestTools: readonly HonestMaker[] = [
  ...named('Info-ZIP', infoZip),
  ...named('7-Zip', sevenZips),
  ...named('git', gits),
  ...named('libarchive', libarchives),
  ...named('Java', javas),
];
