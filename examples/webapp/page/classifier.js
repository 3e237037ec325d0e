// Ask the model server what is in a photo.

import { connectTransport, createClient, SigrunError, strings } from "sigrun-client";
import { MODELS } from "./models.js";

const TIMEOUT_MS = 20_000;
const PROBE_TIMEOUT_MS = 2_000;

/**
 * @typedef {object} Guess
 * @property {string} name
 * @property {string} synonyms Empty if there are none.
 * @property {number} score Between 0 and 1.
 *
 * @typedef {object} Answer
 * @property {readonly Guess[]} guesses The likeliest first.
 * @property {string} model
 * @property {bigint | undefined} version
 * @property {number} elapsedMs From the call to its answer, the network included.
 * @property {number | undefined} serverMs What of it the server took; undefined if it does not say.
 *
 * @typedef {object} Classifier
 * @property {(jpeg: Uint8Array, question: Question) => Promise<Answer>} classify
 * @property {() => Promise<boolean>} isServing
 *
 * @typedef {object} Question
 * @property {string} model
 * @property {string} label
 * @property {AbortSignal} signal
 */

/**
 * Return a classifier that asks the server at `baseUrl`; its `classify` rejects with a
 * `SigrunError`.
 *
 * @param {string} baseUrl
 * @returns {Classifier}
 */
export function createClassifier(baseUrl) {
  const prober = createClient({ transport: connectTransport({ baseUrl }) });

  return {
    async classify(jpeg, { model, label, signal }) {
      /** @type {number | undefined} */
      let serverMs;
      const transport = connectTransport({
        baseUrl,
        async fetch(url, options) {
          const response = await fetch(url, options);
          serverMs = serverTiming(response.headers);
          return response;
        },
      });
      const client = createClient({ transport, timeoutMs: TIMEOUT_MS });
      const startedAt = performance.now();
      const answer = await client.predict(model, { images: [jpeg] }, { label, signal });
      const elapsedMs = performance.now() - startedAt;
      const { classes, scores } = answer.outputs;
      const guesses = strings(classes).map((names, place) =>
        guess(names, Number(scores.data[place])),
      );
      return { guesses, model: answer.model, version: answer.version, elapsedMs, serverMs };
    },

    async isServing() {
      try {
        const versions = await prober.status(MODELS[0].name, { timeoutMs: PROBE_TIMEOUT_MS });
        return versions.some(({ state }) => state === "AVAILABLE");
      } catch (error) {
        if (error instanceof SigrunError) {
          return false;
        }
        throw error;
      }
    },
  };
}

/**
 * Say whether the server was not there, rather than that it refused.
 *
 * @param {unknown} error
 */
export function isAway(error) {
  return (
    error instanceof SigrunError &&
    (error.code === "UNAVAILABLE" || error.code === "DEADLINE_EXCEEDED")
  );
}

/**
 * Return the milliseconds of the metric "server" in the header `Server-Timing`.
 *
 * @param {Headers} headers
 */
function serverTiming(headers) {
  const duration = /(?:^|,\s*)server;dur=([\d.]+)/.exec(headers.get("server-timing") ?? "")?.[1];
  return duration === undefined ? undefined : Number(duration);
}

/**
 * @param {string} names "giant panda, panda, panda bear"
 * @param {number} score
 * @returns {Guess}
 */
function guess(names, score) {
  const [name, ...synonyms] = names.split(", ");
  return { name, synonyms: synonyms.join(", "), score };
}
