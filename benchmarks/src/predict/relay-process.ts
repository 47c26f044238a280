// The least that any process between two others adds: bytes go on as they come, and nothing is read of them.
import { connect, createServer, type AddressInfo } from 'node:net';

process.once('message', ({ host, port }: { host: string; port: number }) => {
  const server = createServer({ noDelay: true }, (caller) => {
    const peer = connect({ host, port, noDelay: true });
    caller.pipe(peer).pipe(caller);
    caller.on('error', () => peer.destroy());
    peer.on('error', () => caller.destroy());
  });
  server.listen(0, '127.0.0.1', () => process.send?.((server.address() as AddressInfo).port));
});
process.on('disconnect', () => process.exit(0));
