// What there is to choose from. The server is told the names; people read the rest.

/**
 * @typedef {object} Choice
 * @property {string} name
 * @property {string} title
 * @property {string} hint
 */

/** @type {readonly Choice[]} */
export const LABELS = [
  {
    name: "production",
    title: "Production",
    hint: "Looks once at the whole photo, squeezed into a square.",
  },
  {
    name: "beta",
    title: "Beta",
    hint: "Looks at the middle, and at its mirror image.",
  },
];

/** @type {readonly Choice[]} */
export const MODELS = [
  {
    name: "panda",
    title: "Small",
    hint: "EfficientNet-Lite0: 4.7 million weights, 224 × 224 pixels.",
  },
  {
    name: "panda_large",
    title: "Large",
    hint: "EfficientNet-Lite2: 6.1 million weights, 260 × 260 pixels.",
  },
];
