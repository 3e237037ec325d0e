// Packed varints -> typed arrays.

/** Return the low 32 bits of each varint. Throws a RangeError if the last one is not complete. */
export function readVarints32(bytes: Uint8Array): Int32Array {
  const values = new Int32Array(countVarints(bytes));
  readVarints(bytes, (i, low) => {
    values[i] = low;
  });
  return values;
}

/** Return varints of 64 bits. Throws a RangeError if the last one is not complete. */
export function readVarints64(bytes: Uint8Array): BigInt64Array {
  const values = new BigInt64Array(countVarints(bytes));
  const words = new Int32Array(values.buffer);
  readVarints(bytes, (i, low, high) => {
    words[2 * i] = low;
    words[2 * i + 1] = high;
  });
  return values;
}

function countVarints(bytes: Uint8Array): number {
  let count = 0;
  for (const byte of bytes) {
    count += byte < 0x80 ? 1 : 0;
  }
  return count;
}

const MAX_VARINT_BYTES = 10;

function readVarints(
  bytes: Uint8Array,
  put: (index: number, low: number, high: number) => void,
): void {
  let index = 0;
  for (let start = 0; start < bytes.length; ) {
    let low = 0;
    let high = 0;
    let shift = 0;
    let byte = 0x80;
    for (; byte & 0x80; shift += 7) {
      if (start === bytes.length || shift === 7 * MAX_VARINT_BYTES) {
        throw new RangeError("a varint is not complete, or too long");
      }
      byte = bytes[start++] as number;
      // The fifth byte belongs to both words: four bits here, three there.
      if (shift < 32) {
        low |= (byte & 0x7f) << shift;
      }
      if (shift >= 28) {
        high |= shift === 28 ? (byte & 0x7f) >>> 4 : (byte & 0x7f) << (shift - 32);
      }
    }
    put(index++, low, high);
  }
}
