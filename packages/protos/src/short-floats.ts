/** A number of 16 bits, 5 of them the exponent: DT_HALF. */
export function numberOfHalf(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 0x1f;
  const fraction = bits & 0x3ff;
  if (exponent === 0x1f) return fraction === 0 ? sign * Infinity : NaN;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

/** The nearest one; of two, the even one. */
export function halfOfNumber(value: number): number {
  if (Number.isNaN(value)) return 0x7e00;
  const sign = value < 0 || Object.is(value, -0) ? 0x8000 : 0;
  const size = Math.abs(value);
  if (size >= 65_520) return sign | 0x7c00;
  if (size < 2 ** -14) return sign | roundToEven(size * 2 ** 24);
  let exponent = Math.floor(Math.log2(size));
  // The logarithm is rounded itself.
  if (2 ** exponent > size) exponent -= 1;
  if (2 ** (exponent + 1) <= size) exponent += 1;
  // A fraction that is rounded up to 1024 carries over into the exponent, as it should.
  return sign | (((exponent + 15) << 10) + roundToEven((size / 2 ** exponent - 1) * 1024));
}

const bits = new DataView(new ArrayBuffer(4));

/** The upper half of a float: DT_BFLOAT16. */
export function numberOfBfloat16(upper: number): number {
  bits.setUint32(0, upper * 2 ** 16);
  return bits.getFloat32(0);
}

/** The nearest one; of two, the even one. */
export function bfloat16OfNumber(value: number): number {
  if (Number.isNaN(value)) return 0x7fc0;
  bits.setFloat32(0, value);
  let whole = bits.getUint32(0);
  // Rounded to a float first, it may seem to be right between two of ours: its last bit tells that it is not.
  const single = bits.getFloat32(0);
  if (single !== value && Number.isFinite(single)) {
    // Toward zero, and then to the odd one.
    if (Math.abs(single) > Math.abs(value)) whole -= 1;
    whole |= 1;
  }
  return ((whole + 0x7fff + ((whole >>> 16) & 1)) >>> 16) & 0xffff;
}

function roundToEven(value: number): number {
  const rounded = Math.round(value);
  return value % 1 === 0.5 && rounded % 2 === 1 ? rounded - 1 : rounded;
}
