import { createServer, connect, type Socket } from 'node:net';
import { once } from 'node:events';

/** Stands between a client and an engine's socket, and breaks connections on demand. */
export interface CuttingProxy {
  socketPath: string;
  /** Cuts every connection there is. */
  cut(): void;
  /** Lets nothing pass from the engine any more; connections stay open. */
  freeze(): void;
  /** How many connections were made so far. */
  connections(): number;
  close(): Promise<void>;
}

/**
 * `cutAfterBytes`: cuts a connection once so much has come from the engine over it.
 * `cutFirst`: cuts the first connection whose request has this text, before the engine hears of it.
 */
export async function startCuttingProxy(
  socketPath: string,
  engineSocket: string,
  options: { cutAfterBytes?: number; cutFirst?: string } = {},
): Promise<CuttingProxy> {
  const { cutAfterBytes = Infinity } = options;
  let { cutFirst } = options;
  const sockets = new Set<Socket>();
  let frozen = false;
  let count = 0;
  const server = createServer((client) => {
    count += 1;
    const engine = connect(engineSocket);
    let bytes = 0;
    for (const socket of [client, engine]) {
      sockets.add(socket);
      socket.on('error', () => undefined);
      socket.once('close', () => sockets.delete(socket));
    }
    client.on('data', (chunk: Buffer) => {
      if (cutFirst === undefined || !chunk.includes(cutFirst)) return;
      cutFirst = undefined;
      client.destroy();
    });
    client.pipe(engine);
    client.once('close', () => engine.destroy());
    engine.once('close', () => client.destroy());
    engine.on('data', (chunk: Buffer) => {
      if (frozen) return;
      bytes += chunk.length;
      if (bytes > cutAfterBytes) client.destroy();
      else if (!client.write(chunk)) {
        engine.pause();
        client.once('drain', () => engine.resume());
      }
    });
  });
  server.listen(socketPath);
  await once(server, 'listening');
  const cut = () => {
    for (const socket of sockets) socket.destroy();
  };
  return {
    socketPath,
    cut,
    freeze: () => {
      frozen = true;
    },
    connections: () => count,
    close: async () => {
      cut();
      server.close();
      await once(server, 'close');
    },
  };
}
