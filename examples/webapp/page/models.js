// What there is to choose from. The server is told the names; people read the rest.

/**
 * @typedef {object} Choice
 * @property {string} name
 * @property {string} title
 * @property {string} hint
 *
 * @typedef {object} Sample
 * @property {string} file Its URL.
 * @property {string} title
 */

/** Asks every label, one after the other. */
export const BOTH = "both";

/** @type {readonly Choice[]} */
export const LABELS = [
  {
    name: "production",
    title: "Production",
    hint: "Version 1 looks once at the whole photo, squeezed into a square.",
  },
  {
    name: "beta",
    title: "Beta",
    hint: "Version 2 looks at the middle of the photo and at its mirror image.",
  },
];

/** @type {readonly Choice[]} */
export const LABEL_CHOICES = [
  {
    name: BOTH,
    title: "Both",
    hint: "Asks production, then beta, and shows them side by side.",
  },
  ...LABELS,
];

/** @type {readonly Choice[]} */
export const MODELS = [
  {
    name: "panda",
    title: "Small",
    hint: "EfficientNet-Lite0: 4.7 million weights, 224 × 224 pixels.",
  },
  {
    name: "panda_large",
    title: "Large",
    hint: "EfficientNet-Lite2: 6.1 million weights, 260 × 260 pixels.",
  },
];

/** @type {readonly Sample[]} */
export const SAMPLES = [
  { file: "panda.jpg", title: "Panda" },
  { file: "photos/cat.jpg", title: "Cat" },
  { file: "photos/coffee.jpg", title: "Coffee" },
];

/**
 * Return the labels that a choice stands for, in the order in which they are asked.
 *
 * @param {string} choice
 */
export function labelsOf(choice) {
  return choice === BOTH ? LABELS.map(({ name }) => name) : [choice];
}
