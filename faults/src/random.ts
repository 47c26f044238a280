import { createHash } from 'node:crypto';

/** The same seed and name give the same numbers, whatever else is drawn elsewhere. */
export interface Random {
  /** At least 0, less than 1. */
  number(): number;
  /** Both ends can come. */
  between(least: number, most: number): number;
  pick<Item>(items: readonly Item[]): Item;
  chance(share: number): boolean;
  bytes(count: number): Buffer;
  /** Another source, whose numbers stay the same when this one is asked more or less often. */
  fork(name: string): Random;
}

export function createRandom(seed: string): Random {
  let block: Buffer = Buffer.alloc(0);
  let at = 0;
  let blocks = 0;
  const next = () => {
    if (at + 4 > block.length) {
      block = createHash('sha512')
        .update(`${seed} ${(blocks += 1)}`)
        .digest();
      at = 0;
    }
    const value = block.readUInt32LE(at);
    at += 4;
    return value;
  };
  const number = () => next() / 2 ** 32;
  return {
    number,
    between: (least, most) => least + Math.floor(number() * (most - least + 1)),
    pick: (items) => items[Math.floor(number() * items.length)] as (typeof items)[number],
    chance: (share) => number() < share,
    bytes(count) {
      const bytes = Buffer.alloc(Math.ceil(count / 4) * 4);
      for (let place = 0; place < count; place += 4) bytes.writeUInt32LE(next(), place);
      return bytes.subarray(0, count);
    },
    fork: (name) => createRandom(`${seed}/${name}`),
  };
}
