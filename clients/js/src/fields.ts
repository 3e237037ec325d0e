// A message as the list of its fields, in place: for messages whose values are arrays, of
// which generated code would make a list of objects.

import { fromBinary } from "@bufbuild/protobuf";
import { BinaryReader } from "@bufbuild/protobuf/wire";
import { EmptySchema } from "@bufbuild/protobuf/wkt";

/** One field as it stands in a message: `data` is a view of what comes after the tag. */
export interface Field {
  readonly no: number;
  readonly wireType: number;
  readonly data: Uint8Array;
}

/**
 * Return the fields of a message in their order. Throws an Error for what is no message.
 *
 * To a message without fields all that it reads is unknown, and kept as it is.
 */
export function fieldsOf(bytes: Uint8Array): readonly Field[] {
  return fromBinary(EmptySchema, bytes).$unknown ?? [];
}

/** Return the content of a length-delimited field. */
export function blockOf(field: Field): Uint8Array {
  return new BinaryReader(field.data).bytes();
}

/** Return parts in one block; one alone is not copied. */
export function concatenated(parts: readonly Uint8Array[]): Uint8Array {
  const [first] = parts;
  if (first !== undefined && parts.length === 1) {
    return first;
  }
  const whole = new Uint8Array(parts.reduce((length, part) => length + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}
