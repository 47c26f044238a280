/** Fields of protobuf messages, written by hand: nothing of ours encodes what a load client sends. */
export function message(field: number, content: Buffer | string): Buffer {
  const bytes = Buffer.from(content);
  return Buffer.concat([varint(field * 8 + 2), varint(bytes.length), bytes]);
}

export function number(field: number, value: number): Buffer {
  return Buffer.concat([varint(field * 8), varint(value)]);
}

/** An entry of a map. */
export function entry(field: number, key: string, value: Buffer | string): Buffer {
  return message(field, Buffer.concat([message(1, key), message(2, value)]));
}

/** The fields of a message that has texts alone. */
export function texts(bytes: Buffer): string[] {
  const found: string[] = [];
  for (let at = 0; at < bytes.length;) {
    let length = 0;
    let shift = 0;
    do {
      at += 1;
      length += ((bytes[at] ?? 0) & 127) << shift;
      shift += 7;
    } while ((bytes[at] ?? 0) > 127);
    found.push(bytes.toString('utf8', at + 1, at + 1 + length));
    at += 1 + length;
  }
  return found;
}

function varint(value: number): Buffer {
  const bytes: number[] = [];
  for (let rest = value; ; rest = Math.floor(rest / 128)) {
    if (rest < 128) return Buffer.from([...bytes, rest]);
    bytes.push((rest % 128) + 128);
  }
}
