import { decode, encode } from '@msgpack/msgpack';
import { randomUUID } from 'node:crypto';
import { Dealer } from 'zeromq';

const { ZERORPC_ADDRESS = 'tcp://127.0.0.1:4242', API_KEY } = process.env;
const socket = new Dealer({ linger: 0, receiveTimeout: 30_000 });
socket.connect(ZERORPC_ADDRESS);

const header = { message_id: randomUUID(), v: 3, token: API_KEY };
const inputs = { measurements: [[5.1, 3.5, 1.4, 0.2]] };
await socket.send(['', encode([header, 'iris_predict', [inputs]])]);
for await (const [, message = ''] of socket) {
  const [, event, args] = decode(message as Buffer) as [object, string, any[]];
  if (event === '_zpc_hb') continue;
  if (event !== 'OK') throw new Error(args.join(': '));
  console.log(...args[0].species);
  break;
}
socket.close();
