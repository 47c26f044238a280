import { execFile } from 'node:child_process';
import { lstat, readFile, readlink, realpath } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import {
  buildFromFiles,
  directory,
  file,
  link,
  localFile,
} from '@inference-server/example-image-import';
import { testFolder } from '@inference-server/testing';

const run = promisify(execFile);
const repository = fileURLToPath(new URL('../..', import.meta.url));
const protos = join(repository, 'packages/protos/proto');

/** Our definitions, compiled by Debian's protoc for Python: the folder they are in. */
export async function compileDefinitions(): Promise<string> {
  const folder = await testFolder();
  const { stdout } = await run('find', [protos, '-name', '*.proto', '-not', '-path', '*/google/*']);
  await run('protoc', [
    ...['-I', protos, `--python_out=${folder}`, `--grpc_python_out=${folder}`],
    '--plugin=protoc-gen-grpc_python=/usr/bin/grpc_python_plugin',
    ...stdout.trim().split('\n'),
  ]);
  return folder;
}

/** An image of Debian's packages on this machine, with the runtime of python_runtime.py. */
export async function pythonRuntimeImage(
  tag: string,
  definitions: string,
  dockerHost: string,
): Promise<string> {
  const { stdout } = await run('find', [definitions, '-name', '*.py', '-printf', '%P\n']);
  const compiled = await Promise.all(
    stdout
      .trim()
      .split('\n')
      .map(async (path) =>
        file(`app/definitions/${path}`, await readFile(join(definitions, path))),
      ),
  );
  return await buildFromFiles({
    tag,
    entries: [
      ...['bin', 'lib', 'lib64', 'sbin'].map((name) => link(name, `usr/${name}`)),
      directory('tmp', 0o1777),
      ...(await packageFiles(['python3-minimal', 'python3-grpcio', 'python3-protobuf'])),
      ...[...new Set(compiled.map(({ path }) => dirname(path)))]
        .toSorted()
        .map((path) => directory(path)),
      ...compiled,
      file('app/runtime.py', await readFile(join(repository, 'tests/warm/python_runtime.py'))),
    ],
    changes: ['CMD ["/usr/bin/python3", "/app/runtime.py"]', 'USER 1000'],
    dockerHost,
    signal: AbortSignal.timeout(180_000),
  });
}

/** The files of these packages and of all that they depend on, where this machine has them. */
async function packageFiles(names: readonly string[]) {
  const { stdout } = await run(
    'dpkg-query',
    ['-W', '-f', '${Package}|${Pre-Depends},${Depends}\n'],
    {
      maxBuffer: 2 ** 26,
    },
  );
  const depends = new Map(
    stdout.split('\n').map((line) => {
      const [name = ''] = line.split('|', 1);
      return [
        name,
        line
          .slice(name.length + 1)
          .split(/[,|]/)
          .map(packageOf),
      ] as const;
    }),
  );
  const wanted = new Set<string>();
  const take = (name: string) => {
    if (name === '' || wanted.has(name) || !depends.has(name)) return;
    wanted.add(name);
    depends.get(name)?.forEach(take);
  };
  names.forEach(take);
  const listed = await run('dpkg-query', ['-L', ...wanted], { maxBuffer: 2 ** 26 });
  const paths = new Set<string>();
  for (const path of listed.stdout.split('\n')) {
    if (/^\/(?:usr|lib(?:64)?)\//.test(path)) paths.add(await realPlace(path));
  }
  const ours = [...paths].filter((path) => !/^\/usr\/share\/(?:doc|man|locale|lintian)/.test(path));
  const entries = await Promise.all(
    ours.toSorted().map(async (path) => {
      const status = await lstat(path).catch(() => undefined);
      const name = path.slice(1);
      if (status === undefined) return [];
      if (status.isDirectory()) return [directory(name)];
      if (status.isSymbolicLink()) return [link(name, await readlink(path))];
      return status.isFile() ? [localFile(name, path, status.mode & 0o755)] : [];
    }),
  );
  return entries.flat();
}

function packageOf(words: string): string {
  return words.trim().split(/[ :(]/, 1)[0] ?? '';
}

/** Debian's /lib is a link. */
async function realPlace(path: string): Promise<string> {
  const folder = await realpath(dirname(path)).catch(() => dirname(path));
  return join(folder, basename(path));
}
