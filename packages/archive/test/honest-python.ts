import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { filledTree, inFolder, wholeTree, type HonestMaker, type Tree } from './honest-zip.js';

const python = '/usr/bin/python3';

/** Runs lines of Python in which `path` is the zip's and `tree` the folder. */
function script(what: string, lines: string, gives?: Tree): HonestMaker {
  const head = 'import os, shutil, sys, zipfile\npath, tree = sys.argv[1:]\nos.chdir(tree)\n';
  const env = { PATH: '/usr/bin:/bin', LC_ALL: 'C.UTF-8' };
  return {
    what: `Python: ${what}`,
    needs: python,
    make: ({ tree, zip }) => promisify(execFile)(python, ['-c', head + lines, zip, tree], { env }),
    ...(gives === undefined ? {} : { gives }),
  };
}

const everyFile = `
def add(z, *more):
    for folder, folders, files in sorted(os.walk('.')):
        for name in sorted(files):
            z.write(os.path.join(folder, name), None, *more)
`;
/** A stream that can only be written to. */
const unseekable = `
class Pipe:
    def __init__(self, file): self.file = file
    def write(self, data): return self.file.write(data)
    def flush(self): self.file.flush()
`;
const one: Tree = { files: { 'a.txt': Buffer.from('one') }, folders: [] };

/** The ways of zipfile, shutil and its command line. */
export const honestPython: readonly HonestMaker[] = [
  script(
    'stored, as is its default',
    `${everyFile}with zipfile.ZipFile(path, 'w') as z: add(z)`,
    filledTree,
  ),
  script(
    'deflated',
    `${everyFile}with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as z: add(z)`,
    filledTree,
  ),
  script(
    'to a stream without positions',
    `${everyFile}${unseekable}with open(path, 'wb') as f:
    with zipfile.ZipFile(Pipe(f), 'w', zipfile.ZIP_DEFLATED) as z: add(z)`,
    filledTree,
  ),
  script(
    'stored to a stream without positions',
    `${everyFile}${unseekable}with open(path, 'wb') as f:
    with zipfile.ZipFile(Pipe(f), 'w') as z: add(z)`,
    filledTree,
  ),
  script(
    'with ZIP64 by force',
    `with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as z:
    with z.open('a.txt', 'w', force_zip64=True) as f: f.write(b'one')`,
    one,
  ),
  script(
    'with ZIP64 by force to a stream without positions',
    `${unseekable}with open(path, 'wb') as f:
    with zipfile.ZipFile(Pipe(f), 'w') as z:
        with z.open('a.txt', 'w', force_zip64=True) as g: g.write(b'one')`,
    one,
  ),
  script(
    'text, folders by name, and mkdir',
    `with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as z:
    z.writestr('a.txt', 'one')
    z.writestr('sub/', '')
    if hasattr(z, 'mkdir'): z.mkdir('made')
    else: z.writestr('made/', '')`,
    { ...one, folders: ['made', 'sub'] },
  ),
  script(
    'names that an old program wrote in code page 437',
    `with zipfile.ZipFile(path, 'w') as z:
    class Old(zipfile.ZipInfo):
        def _encodeFilenameFlags(self): return self.filename.encode('cp437'), self.flag_bits
    info = Old('größe.txt')
    info.create_system = 0
    z.writestr(info, 'one')`,
    { files: { 'größe.txt': Buffer.from('one') }, folders: [] },
  ),
  script(
    'times before 1980',
    `os.utime('zeros', (0, 0))
with zipfile.ZipFile(path, 'w', strict_timestamps=False) as z: z.write('zeros')`,
    { files: { zeros: wholeTree.files.zeros! }, folders: [] },
  ),
  script(
    'a file that was added later, and a comment',
    `with zipfile.ZipFile(path, 'w') as z: z.writestr('a.txt', 'one')
with zipfile.ZipFile(path, 'a') as z:
    z.writestr('b.txt', 'two')
    z.comment = b'a comment'`,
    { files: { ...one.files, 'b.txt': Buffer.from('two') }, folders: [] },
  ),
  script('shutil', "shutil.make_archive(path[:-4], 'zip', tree)"),
  script(
    'shutil with a folder before all',
    "shutil.make_archive(path[:-4], 'zip', os.path.dirname(tree), os.path.basename(tree))",
    inFolder('tree', wholeTree),
  ),
  script(
    'its command line',
    "import subprocess\nsubprocess.run([sys.executable, '-m', 'zipfile', '-c', path, *sorted(os.listdir('.'))], check=True)",
  ),
];
