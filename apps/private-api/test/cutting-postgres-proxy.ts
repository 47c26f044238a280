import { createServer, connect, type AddressInfo, type Socket } from 'node:net';

/** Between our process and Postgres: cuts the connection of one COMMIT when it is told to. */
export interface CuttingProxy {
  url: string;
  /** The next COMMIT: `answer`: it is done, its answer is lost; `statement`: it never arrives. */
  cutNext(what: 'answer' | 'statement'): void;
  /** How many were cut. */
  cuts(): number;
  /** From the next cut on the database is away for so long: no connection lives, none is let in. */
  stayAwayFor(ms: number): void;
  close(): Promise<void>;
}

export async function startCuttingProxy(databaseUrl: string): Promise<CuttingProxy> {
  const target = new URL(databaseUrl);
  const sockets = new Set<Socket>();
  let next: 'answer' | 'statement' | undefined;
  let cuts = 0;
  let awayMs = 0;
  let awayUntil = 0;

  const server = createServer((client) => {
    if (performance.now() < awayUntil) {
      client.destroy();
      return;
    }
    const upstream = connect(Number(target.port), target.hostname);
    for (const socket of [client, upstream]) {
      sockets.add(socket);
      socket.on('error', () => undefined);
      socket.on('close', () => sockets.delete(socket));
    }
    client.on('close', () => upstream.destroy());
    upstream.on('close', () => client.destroy());
    let isLost = false;
    client.on('data', (chunk: Buffer) => {
      if (next === undefined || !chunk.includes('COMMIT')) {
        upstream.write(chunk);
        return;
      }
      const what = next;
      next = undefined;
      cuts += 1;
      if (what === 'statement') {
        beAway(client, upstream);
        return;
      }
      isLost = true;
      upstream.write(chunk);
    });
    upstream.on('data', (chunk: Buffer) => {
      // Postgres has answered: it is committed.
      if (isLost) beAway(client, upstream);
      else client.write(chunk);
    });
  });
  const beAway = (...cut: Socket[]): void => {
    awayUntil = performance.now() + awayMs;
    for (const socket of awayMs > 0 ? sockets : cut) socket.destroy();
  };
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const url = new URL(databaseUrl);
  url.host = `127.0.0.1:${(server.address() as AddressInfo).port}`;
  return {
    url: url.href,
    cutNext: (what) => void (next = what),
    cuts: () => cuts,
    stayAwayFor: (ms) => void (awayMs = ms),
    close: async () => {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
