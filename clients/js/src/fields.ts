// A message as the list of its fields, in place: for messages whose values are arrays, of
// which generated code would make a list of objects.

import { BinaryReader, WireType } from "@bufbuild/protobuf/wire";

/** One field as it stands in a message: `data` is a view of what comes after the tag. */
export interface Field {
  readonly no: number;
  readonly wireType: WireType;
  readonly data: Uint8Array;
}

/** Return the fields of a message in their order. Throws an Error for what is no message. */
export function fieldsOf(bytes: Uint8Array): readonly Field[] {
  const reader = new BinaryReader(bytes);
  const fields: Field[] = [];
  while (reader.pos < reader.len) {
    const [no, wireType] = reader.tag();
    fields.push({ no, wireType, data: reader.skip(wireType, no) });
  }
  return fields;
}

/** What reads a message: generated code. */
export interface Decoder<T> {
  decode(reader: BinaryReader): T;
}

/**
 * Return the message that all of `bytes` make. Throws an Error if they make none.
 *
 * Generated code stops at a tag that ends a group, and takes what it has read so far for the whole.
 */
export function messageOf<T>(decoder: Decoder<T>, bytes: Uint8Array): T {
  const reader = new BinaryReader(bytes);
  const message = decoder.decode(reader);
  if (reader.pos < reader.len) {
    throw new Error(`a message ends ${reader.len - reader.pos} bytes too early`);
  }
  return message;
}

/** Return the content of a length-delimited field. */
export function blockOf(field: Field): Uint8Array {
  return new BinaryReader(field.data).bytes();
}

/** Return the blocks of all length-delimited fields of a number, in their order. */
export function blocksOf(fields: readonly Field[], no: number): Uint8Array[] {
  return fields
    .filter((field) => field.no === no && field.wireType === WireType.LengthDelimited)
    .map(blockOf);
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
