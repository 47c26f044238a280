import { setTimeout as sleep } from 'node:timers/promises';
import type Docker from 'dockerode';
import { messageOf } from '@inference-server/errors';
import type { CommandEnd, CommandLimits } from '../container-engine.js';
import { EngineError, isEngineProblem } from '../engine-error.js';
import { boundedCall, dialStream, type EngineConnection } from './connection.js';
import { tellsOfNoProgram } from './errors.js';
import { payloads } from './frames.js';
import { endsNow, whileRunning } from './running.js';

export async function runCommand(
  connection: EngineConnection,
  container: string,
  command: readonly string[],
  limits: CommandLimits,
  signal: AbortSignal,
): Promise<CommandEnd | undefined> {
  const { docker, deadlines } = connection;
  const doing = `command in ${container}`;
  return whileRunning(connection, container, signal, async () => {
    const request = { AttachStdout: true, AttachStderr: true, Cmd: [...command] };
    const exec = await boundedCall(doing, deadlines.callMs, signal, (abortSignal) =>
      docker.getContainer(container).exec({ ...request, abortSignal }),
    );
    const { output, exitCode, wasStarted } = await boundedCall(
      doing,
      limits.timeoutMs,
      signal,
      (bounded) => untilEnd(connection, { exec, doing, maxBytes: limits.maxBytes }, bounded),
      'it did not end in time.',
    );
    // A container's end kills whatever runs in it, and lets nothing be started.
    const isDoubtful = wasStarted ? exitCode === killed : !tellsOfNoProgram(output);
    if (isDoubtful && (await endsNow(connection, container, signal))) return undefined;
    return { exitCode, output };
  });
}

const killed = 128 + 9;

async function untilEnd(
  connection: EngineConnection,
  { exec, doing, maxBytes }: { exec: Docker.Exec; doing: string; maxBytes: number },
  signal: AbortSignal,
): Promise<CommandEnd & { wasStarted: boolean }> {
  try {
    const output = await outputOf(connection, { exec, doing, maxBytes }, signal);
    return { output, ...(await exitOf(connection, { exec, doing }, signal)) };
  } catch (error) {
    // Docker tells in the output what cannot be started (20.10 always with 126); an engine may refuse it.
    const text = messageOf(error);
    if (!isEngineProblem(error, 'refused', 'path_absent', 'failed') || !tellsOfNoProgram(text)) {
      throw error;
    }
    return { output: text, exitCode: /permission/i.test(text) ? 126 : 127, wasStarted: false };
  }
}

/** Its first `maxBytes`. The rest is read all the same: the end of the output is near that of the command. */
async function outputOf(
  connection: EngineConnection,
  { exec, doing, maxBytes }: { exec: Docker.Exec; doing: string; maxBytes: number },
  signal: AbortSignal,
): Promise<string> {
  const path = `/exec/${exec.id}/start`;
  const body = { Detach: false, Tty: false };
  const answer = await boundedCall(doing, connection.deadlines.callMs, signal, (bounded) =>
    dialStream(connection, { method: 'POST', path, query: {}, body }, bounded),
  );
  const stop = () => answer.destroy();
  signal.addEventListener('abort', stop, { once: true });
  try {
    const kept: Buffer[] = [];
    let bytes = 0;
    let isCut = false;
    for await (const chunk of payloads(answer)) {
      const room = maxBytes - bytes;
      isCut ||= chunk.length > room;
      if (room === 0) continue;
      kept.push(Buffer.from(chunk.subarray(0, room)));
      bytes += Math.min(chunk.length, room);
    }
    // A character that was cut in two is dropped.
    return new TextDecoder().decode(Buffer.concat(kept), { stream: isCut });
  } finally {
    answer.destroy();
  }
}

/**
 * The engine hears of a command's end apart from that of its output. Where one stays away, the output is
 * taken to be cut short: that the connection broke looks the same as that the command closed its streams.
 * One that breaks between two frames of what a command writes until it ends is not noticed, and engine
 * 20.10 then tells of exit code 126, whatever the command does.
 */
async function exitOf(
  { deadlines }: EngineConnection,
  { exec, doing }: { exec: Docker.Exec; doing: string },
  signal: AbortSignal,
): Promise<{ exitCode: number; wasStarted: boolean }> {
  const until = performance.now() + exitNoticeMs;
  for (;;) {
    const { Running, ExitCode, Pid } = await boundedCall(
      doing,
      deadlines.callMs,
      signal,
      (abortSignal) => exec.inspect({ abortSignal }),
    );
    if (!Running && ExitCode !== null) return { exitCode: ExitCode, wasStarted: Pid !== 0 };
    if (performance.now() > until) {
      throw new EngineError('unreachable', `${doing}: its output ended before it did.`);
    }
    await sleep(20, undefined, { signal });
  }
}

const exitNoticeMs = 5_000;
