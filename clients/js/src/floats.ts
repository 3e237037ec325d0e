// The two short floats, which travel as the 16 bits that they are.

const FLOAT = new Float32Array(1);
const BITS = new Uint32Array(FLOAT.buffer);

/** Return the number that the bits of a bfloat16 mean. */
export function fromBfloat16(bits: number): number {
  BITS[0] = bits << 16;
  return FLOAT[0] as number;
}

/** Return the bits of the bfloat16 nearest to `value`; ties go to the even one. */
export function toBfloat16(value: number): number {
  FLOAT[0] = value;
  const bits = BITS[0] as number;
  if (Number.isNaN(value)) {
    return 0x7fc0;
  }
  return (bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16;
}

/** Return the number that the bits of a float16 mean. */
export function fromFloat16(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >>> 10) & 0x1f;
  const fraction = bits & 0x3ff;
  if (exponent === 0) {
    return sign * fraction * 2 ** -24;
  }
  if (exponent === 0x1f) {
    return fraction ? Number.NaN : sign * Number.POSITIVE_INFINITY;
  }
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

/** Return the bits of the float16 nearest to `value`; ties go to the even one. */
export function toFloat16(value: number): number {
  if (Number.isNaN(value)) {
    return 0x7e00;
  }
  const sign = value < 0 || Object.is(value, -0) ? 0x8000 : 0;
  const size = Math.abs(value);
  if (size >= 65520) {
    return sign | 0x7c00;
  }
  // What is below the smallest normal number is counted in steps of the same size.
  const exponent = Math.max(-14, Math.floor(Math.log2(size)));
  const steps = roundToEven(size / 2 ** (exponent - 10));
  // The steps of a normal number start at 1024, and 2048 of them carry into the exponent.
  return sign | (((exponent + 14) << 10) + steps);
}

function roundToEven(value: number): number {
  const below = Math.floor(value);
  const rest = value - below;
  return below + (rest > 0.5 || (rest === 0.5 && below % 2 === 1) ? 1 : 0);
}
