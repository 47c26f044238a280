import { EngineError } from '../engine-error.js';
import { boundedCall, type EngineConnection } from './connection.js';
import { whileRunning } from './running.js';

/** The engine has its host's `ps` tell them, and wants a column of that title. */
export async function listProcesses(
  connection: EngineConnection,
  container: string,
  signal: AbortSignal,
): Promise<number[] | undefined> {
  const { docker, deadlines } = connection;
  const doing = `processes of ${container}`;
  return whileRunning(connection, container, signal, async () => {
    const { Titles, Processes } = (await boundedCall(
      doing,
      deadlines.callMs,
      signal,
      (abortSignal) => docker.getContainer(container).top({ ps_args: '-eo pid', abortSignal }),
    )) as DockerProcesses;
    const column = Titles?.indexOf('PID') ?? -1;
    const pids = (Processes ?? []).map((row) => Number(row[column]));
    if (!pids.every((pid) => Number.isSafeInteger(pid) && pid > 0)) {
      throw new EngineError('failed', `${doing}: the engine does not tell them.`);
    }
    // It has ended, and the engine is yet to hear of it.
    return pids.length === 0 ? undefined : pids;
  });
}

interface DockerProcesses {
  Titles?: readonly string[] | null;
  Processes?: readonly (readonly string[])[] | null;
}
