import { connect } from 'node:net';

/** Sends commands over a connection of their own; answers what Redis said to the last one. */
export async function askRedis(
  { port, password }: { port: number; password: string },
  ...commands: readonly string[]
): Promise<string> {
  const socket = connect({ port, host: '127.0.0.1' });
  socket.setTimeout(5_000, () => socket.destroy(new Error('Redis does not answer')));
  socket.end([`AUTH ${password}`, ...commands, 'QUIT', ''].join('\r\n'));
  let answer = '';
  for await (const piece of socket) answer += String(piece);
  // +OK for AUTH, one line for each command, +OK for QUIT.
  return answer.split('\r\n').slice(1, -2).at(-1) ?? '';
}
