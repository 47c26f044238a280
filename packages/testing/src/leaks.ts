import { readdir, readFile } from 'node:fs/promises';
import { Socket } from 'node:net';
import { waitUntil } from '@inference-server/local-services';

/** What a test must not leave open. Timers and the like end with the file's process. */
const watched = ['ProcessWrap', 'TCPServerWrap', 'TCPSocketWrap', 'PipeServerWrap', 'MessagePort'];

/** How many handles of each watched kind keep this process from ending. */
export function openHandles(): Map<string, number> {
  const counts = new Map<string, number>();
  for (const kind of process.getActiveResourcesInfo()) {
    if (watched.includes(kind)) counts.set(kind, (counts.get(kind) ?? 0) + 1);
  }
  return counts;
}

/** Throws when, after a moment for what is closing, more is open or running than before. */
export async function expectNoOpenHandles(before: {
  childrenBefore: readonly number[];
  handlesBefore: ReadonlyMap<string, number>;
  graceMs?: number;
}): Promise<void> {
  const { childrenBefore, handlesBefore, graceMs = 3_000 } = before;
  let found: string[] = [];
  const clean = async () => {
    const children = (await childrenOf(process.pid)).filter((pid) => !childrenBefore.includes(pid));
    const handles = [...openHandles()].filter(([kind, n]) => n > (handlesBefore.get(kind) ?? 0));
    found = [
      ...children.map((pid) => `child process ${pid}`),
      ...handles.map(([kind, n]) => `${n - (handlesBefore.get(kind) ?? 0)} × ${kind}`),
    ];
    return found.length === 0;
  };
  if (await waitUntil(clean, { timeoutMs: graceMs })) return;
  throw new Error(`The test file leaves open: ${[...found, ...openSockets()].join(', ')}`);
}

/** Each by its ends and what has passed, to find whose it is. Node has no documented way to ask. */
function openSockets(): string[] {
  const { _getActiveHandles: handles } = process as unknown as {
    _getActiveHandles(): readonly unknown[];
  };
  return handles()
    .filter((handle) => handle instanceof Socket)
    .filter(({ destroyed, remotePort }) => destroyed || remotePort !== undefined)
    .map((handle) => {
      const { localPort, remotePort, bytesRead, bytesWritten, readyState } = handle;
      return `socket ${localPort} ─▶ ${remotePort} (${readyState}, ${bytesRead} read, ${bytesWritten} written)`;
    });
}

/** The processes that `pid` started and that have not been waited for. */
export async function childrenOf(pid: number): Promise<number[]> {
  const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name));
  const parents = await Promise.all(
    pids.map(async (name) => {
      const stat = await readFile(`/proc/${name}/stat`, 'utf8').catch(() => '');
      return Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]);
    }),
  );
  return pids.filter((_name, at) => parents[at] === pid).map(Number);
}
