import AdmZip from 'adm-zip';

/** Contents by name; a name that ends in `/` is a folder, a pair carries the file's mode. */
export type Tree = Record<string, string | [content: string, mode: number]>;

export function zipOf(tree: Tree): Buffer {
  const zip = new AdmZip();
  for (const [name, value] of Object.entries(tree)) {
    const [content, mode] = typeof value === 'string' ? [value, 0o644] : value;
    zip.addFile(name, Buffer.from(content), '', name.endsWith('/') ? 0o755 : mode);
  }
  return zip.toBuffer();
}

/** An input whose script is run by the images of these tests. */
export function scriptZip(script: string, tree: Tree = {}): Buffer {
  return zipOf({ 'run.sh': script, ...tree });
}

/** Names with what they hold: `null` for a folder; an executable file's content has `x:` before it. */
export function readZip(bytes: Buffer): Record<string, string | null> {
  const entries = new AdmZip(bytes).getEntries();
  return Object.fromEntries(
    entries
      .map((entry): [string, string | null] => {
        if (entry.isDirectory) return [entry.entryName, null];
        const mark = (entry.attr >>> 16) & 0o111 ? 'x:' : '';
        return [entry.entryName, mark + entry.getData().toString('utf8')];
      })
      .sort(([a], [b]) => (a < b ? -1 : 1)),
  );
}
