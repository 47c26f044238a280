import { endLeftovers } from '@inference-server/local-services';
import type { DataFolder } from './data-folder.js';

/** The order in which parts are started; they are ended the other way round. */
const startOrder = ['postgres', 'redis', 'docker-engine', 'private-api', 'public-api'];

/** Ends what a start that was killed has left running on this data folder. */
export async function endEarlierStart(
  folder: DataFolder,
  { signal, print }: { signal: AbortSignal; print: (text: string) => void },
): Promise<void> {
  const ended = await endLeftovers(folder.path, { signal, startOrder });
  if (ended.length === 0) return;
  const names = ended.map(({ name, pid }) => `${name} (${pid})`).join(', ');
  print(`Ended what an earlier start had left running: ${names}`);
}
