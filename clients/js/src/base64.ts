// Bytes <-> base64, with what browsers and Node both have: `btoa` and `atob`, whose strings hold
// one byte in each character.

const MAX_ARGUMENTS = 8192; // of one call, so that none overflows the stack

/** Return bytes as base64. */
export function base64Encode(bytes: Uint8Array): string {
  const parts: string[] = [];
  for (let at = 0; at < bytes.length; at += MAX_ARGUMENTS) {
    parts.push(String.fromCharCode(...bytes.subarray(at, at + MAX_ARGUMENTS)));
  }
  return btoa(parts.join(""));
}

/** Return the bytes in base64. Throws for text that is none. */
export function base64Decode(text: string): Uint8Array {
  const characters = atob(text);
  const bytes = new Uint8Array(characters.length);
  for (let at = 0; at < characters.length; at++) {
    bytes[at] = characters.charCodeAt(at);
  }
  return bytes;
}
