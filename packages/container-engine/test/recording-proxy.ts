import { once } from 'node:events';
import { createServer, request } from 'node:http';

/** Stands between a client and an engine's socket, and notes what is asked. */
export interface RecordingProxy {
  /** Methods and paths, without their queries. */
  asked: { method: string; path: string }[];
  close(): Promise<void>;
}

export async function startRecordingProxy(
  socketPath: string,
  engineSocket: string,
): Promise<RecordingProxy> {
  const asked: RecordingProxy['asked'] = [];
  const server = createServer((incoming, answer) => {
    const { method = '', url = '', headers } = incoming;
    asked.push({ method, path: url });
    const outgoing = request({ socketPath: engineSocket, method, path: url, headers });
    outgoing.once('response', (response) => {
      answer.writeHead(response.statusCode ?? 500, response.headers);
      answer.flushHeaders();
      response.pipe(answer);
    });
    outgoing.on('error', () => answer.destroy());
    answer.once('close', () => outgoing.destroy());
    incoming.pipe(outgoing);
  });
  server.listen(socketPath);
  await once(server, 'listening');
  return {
    asked,
    close: async () => {
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  };
}
