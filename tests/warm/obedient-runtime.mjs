// A runtime container that does what its input says, on nothing but node: no code of the server's is in it.
// `x`, one string, is JSON: {"id", "sleep_ms"?, "exit"?, "code"?}; the answer is "<id> <VERSION> <host name>".
import http2 from 'node:http2';
import { hostname } from 'node:os';

const server = http2.createServer();
server.on('stream', (stream, headers) => {
  const chunks = [];
  stream.on('error', () => undefined);
  stream.on('data', (chunk) => chunks.push(chunk));
  stream.on('end', () => {
    const message = Buffer.concat(chunks).subarray(5);
    answer(stream, headers[':path'], message).catch(() => end(stream, 13, 'it cannot read that'));
  });
});
setTimeout(() => server.listen(Number(process.env.APP_PORT)), Number(process.env.START_MS ?? 0));
process.on('SIGTERM', () => process.exit(0));

async function answer(stream, path, message) {
  // Older runtimes have no Status.
  if (!path.endsWith('/Predict')) return end(stream, 12, 'no such method');
  const order = JSON.parse(inputOf(message));
  if (order.sleep_ms !== undefined) await new Promise((done) => setTimeout(done, order.sleep_ms));
  if (order.exit !== undefined) {
    console.log(`told to exit by ${order.id}`);
    process.exit(order.exit);
  }
  if (order.code !== undefined) return end(stream, order.code, 'as it was told');
  const text = Buffer.from(`${order.id} ${process.env.VERSION ?? ''} ${hostname()}`);
  // outputs { key: "x" value { dtype: DT_STRING tensor_shape {} string_val: text } }
  const tensor = Buffer.concat([Buffer.from([8, 7]), field(2, Buffer.alloc(0)), field(8, text)]);
  const entry = Buffer.concat([field(1, Buffer.from('x')), field(2, tensor)]);
  const body = field(1, entry);
  const head = Buffer.alloc(5);
  head.writeUInt32BE(body.length, 1);
  stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true });
  stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0' }));
  stream.end(Buffer.concat([head, body]));
}

/** The string_val of the one input. */
function inputOf(request) {
  const entry = take(request, 2);
  return take(take(entry, 2), 8).toString();
}

/** The content of the last field of this number that has a length. */
function take(message, wanted) {
  let found = Buffer.alloc(0);
  for (let at = 0; at < message.length;) {
    const [key, afterKey] = varint(message, at);
    const [value, afterValue] = varint(message, afterKey);
    const hasLength = key % 8 === 2;
    if (hasLength && Math.floor(key / 8) === wanted) {
      found = message.subarray(afterValue, afterValue + value);
    }
    at = hasLength ? afterValue + value : afterValue;
  }
  return found;
}

function varint(bytes, from) {
  let value = 0;
  for (let at = from; ; at += 1) {
    value += (bytes[at] % 128) * 128 ** (at - from);
    if (bytes[at] < 128) return [value, at + 1];
  }
}

function field(number, content) {
  const length = [];
  for (let rest = content.length; ; rest = Math.floor(rest / 128)) {
    if (rest < 128) return Buffer.concat([Buffer.from([number * 8 + 2, ...length, rest]), content]);
    length.push((rest % 128) + 128);
  }
}

function end(stream, code, text) {
  stream.respond(
    {
      ...{ ':status': 200, 'content-type': 'application/grpc' },
      ...{ 'grpc-status': String(code), 'grpc-message': text },
    },
    { endStream: true },
  );
}
