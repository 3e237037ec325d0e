// A photo as it is sent: upright, little larger than what a model looks at, a JPEG.
//
// A camera's photo has some 4 MB, of which a model sees 260 x 260 pixels. Drawing it again also
// turns it as its EXIF data say, which TensorFlow does not do, leaves those data behind, the place
// where it was taken among them, and makes a JPEG of whatever the browser can show.

const SHORT_SIDE = 400; // pixels; a model looks at up to 260, of a part as small as 7/8
const LONG_SIDE = 4096; // a panorama must fit a canvas
const QUALITY = 0.92;

/**
 * @typedef {object} Photo
 * @property {Uint8Array} jpeg What is sent.
 * @property {string} url Shows the original, until `release` is called.
 * @property {() => void} release
 */

/**
 * Return the photo in a file; reject with a `TypeError` if this browser can read none in it.
 *
 * @param {Blob} file
 * @returns {Promise<Photo>}
 */
export async function readPhoto(file) {
  const picture = await decode(file);
  try {
    const jpeg = await encode(picture);
    const url = URL.createObjectURL(file);
    return { jpeg, url, release: () => URL.revokeObjectURL(url) };
  } finally {
    picture.close();
  }
}

/**
 * @param {Blob} file
 * @returns {Promise<ImageBitmap>}
 */
async function decode(file) {
  try {
    return await createImageBitmap(file);
  } catch (cause) {
    throw new TypeError("Your browser cannot read a picture in it.", { cause });
  }
}

/**
 * @param {ImageBitmap} picture
 * @returns {Promise<Uint8Array>}
 */
async function encode(picture) {
  const { width, height } = sentSize(picture);
  const canvas = document.createElement("canvas");
  canvas.width = width;
  canvas.height = height;
  const context = canvas.getContext("2d", { alpha: false });
  if (context === null) {
    throw new TypeError("Your browser has no canvas to draw the photo on.");
  }
  context.fillStyle = "white"; // behind what is transparent
  context.fillRect(0, 0, width, height);
  context.imageSmoothingQuality = "high";
  context.drawImage(picture, 0, 0, width, height);
  const blob = await new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", QUALITY));
  return new Uint8Array(await blob.arrayBuffer());
}

/**
 * Return the pixels of a photo as it is sent: never more than it has.
 *
 * @param {{ width: number, height: number }} size
 */
export function sentSize({ width, height }) {
  const long = Math.max(width, height);
  const scale = Math.min(1, SHORT_SIDE / Math.min(width, height), LONG_SIDE / long);
  return {
    width: Math.max(1, Math.round(width * scale)),
    height: Math.max(1, Math.round(height * scale)),
  };
}
