/** How many bits each byte takes, and the end of a text at last (RFC 7541, appendix B; the code is canonical). */
// prettier-ignore
const lengths = [
  13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28,
  6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10,
  13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6,
  15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28,
  20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24,
  22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
  26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27,
  20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
  30,
];
const longest = 30;
const endOfText = 256;

/** The symbols in the order of their codes, and of each length the first code and where its symbols begin. */
const symbols = lengths
  .map((_, symbol) => symbol)
  .sort((a, b) => lengthOf(a) - lengthOf(b) || a - b);
const firstCodes = new Uint32Array(longest + 2);
const begins = new Uint32Array(longest + 2);
for (let length = 1; length <= longest; length += 1) {
  const count = symbols.filter((symbol) => lengthOf(symbol) === length).length;
  firstCodes[length + 1] = ((firstCodes[length] ?? 0) + count) * 2;
  begins[length + 1] = (begins[length] ?? 0) + count;
}

/** A text in Huffman's code, each byte as a character; undefined: it is none. */
export function decodeHuffman(bytes: Buffer): string | undefined {
  const text: number[] = [];
  let code = 0;
  let length = 0;
  for (const byte of bytes) {
    for (let bit = 7; bit >= 0; bit -= 1) {
      code = code * 2 + ((byte >> bit) & 1);
      length += 1;
      const index = code - (firstCodes[length] ?? 0);
      const begin = begins[length] ?? 0;
      if (index < (begins[length + 1] ?? 0) - begin) {
        const symbol = symbols[begin + index];
        if (symbol === undefined || symbol === endOfText) return undefined;
        text.push(symbol);
        [code, length] = [0, 0];
      }
    }
  }
  // The last byte is filled up with ones, fewer than eight.
  const isFilled = length < 8 && code === 2 ** length - 1;
  return isFilled ? Buffer.from(text).toString('latin1') : undefined;
}

function lengthOf(symbol: number): number {
  return lengths[symbol] ?? longest;
}
