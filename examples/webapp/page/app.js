// Take a photo, ask the model server, show what it says; ask again when a choice changes.
//
// Two versions are asked one after the other, so that neither's time has the other's in it.

import { createClassifier, isAway } from "./classifier.js";
import { LABEL_CHOICES, labelsOf, MODELS, SAMPLES } from "./models.js";
import { readPhoto } from "./photo.js";
import {
  linkToServer,
  showAnswers,
  showAsking,
  showChoices,
  showError,
  showPhoto,
  showReady,
  showSamples,
} from "./view.js";

const PROBE_INTERVAL_MS = 2_000;

const port = /** @type {HTMLMetaElement} */ (document.querySelector("[name=model-server-port]"));
const serverUrl = `${location.protocol}//${location.hostname}:${port.content}`;
const classifier = createClassifier(serverUrl);

/** @type {import("./photo.js").Photo | undefined} */
let photo;
/** What goes on ends when something newer begins. */
let current = new AbortController();

/** End what goes on, and return the signal of what begins. */
function begin() {
  current.abort();
  current = new AbortController();
  return current.signal;
}

/** Ask about the photo, or, without one, whether the server is there. */
async function ask() {
  const signal = begin();
  if (photo === undefined) {
    await waitForServer(signal);
    return;
  }
  const { jpeg } = photo;
  const model = chosen("models");
  const labels = labelsOf(chosen("labels"));
  /** @type {import("./view.js").LabelledAnswer[]} */
  const answers = [];
  showAsking(labels);
  try {
    for (const label of labels) {
      const answer = await classifier.classify(jpeg, { model, label, signal });
      if (signal.aborted) {
        return;
      }
      answers.push({ label, ...answer });
      showAnswers(answers, { isLast: answers.length === labels.length, sentBytes: jpeg.length });
    }
  } catch (error) {
    if (signal.aborted) {
      return;
    }
    if (!isAway(error)) {
      showError("The model server refused the request", textOf(error), { canRetry: true });
      return;
    }
    showAway();
    await waitForServer(signal);
  }
}

/** Look for the server until it is there; then ask what has not been answered. */
async function waitForServer(/** @type {AbortSignal} */ signal) {
  while (!(await classifier.isServing())) {
    if (signal.aborted) {
      return;
    }
    showAway();
    await new Promise((resolve) => setTimeout(resolve, PROBE_INTERVAL_MS));
  }
  if (signal.aborted) {
    return;
  }
  if (photo === undefined) {
    showReady();
  } else {
    await ask();
  }
}

function showAway() {
  const text = `There is no answer from ${serverUrl}. This page tries again every two seconds and carries on as soon as the server is back.`;
  showError("The model server cannot be reached", text, { canRetry: true });
}

/** @param {Blob | undefined | null} file */
async function take(file) {
  if (!file) {
    return;
  }
  const signal = begin();
  try {
    const read = await readPhoto(file);
    if (signal.aborted) {
      read.release();
      return;
    }
    photo?.release();
    photo = read;
  } catch (error) {
    showError("This file is not a photo", textOf(error), { canRetry: false });
    return;
  }
  showPhoto(photo.url);
  await ask();
}

/** @param {"labels" | "models"} group */
function chosen(group) {
  return String(new FormData(form).get(group));
}

/** @param {unknown} error */
function textOf(error) {
  return error instanceof Error ? error.message : String(error);
}

/** @param {DataTransfer | null} data */
function fileOf(data) {
  return data?.files[0];
}

/** @param {import("./models.js").Sample} sample */
async function takeSample({ file }) {
  try {
    const reply = await fetch(file);
    if (!reply.ok) {
      throw new Error(`HTTP ${reply.status} from ${reply.url}`);
    }
    await take(await reply.blob());
  } catch (error) {
    showError("The sample photo cannot be loaded", textOf(error), { canRetry: false });
  }
}

linkToServer(serverUrl);
showSamples(SAMPLES, takeSample);
showChoices("labels", LABEL_CHOICES);
showChoices("models", MODELS);

const form = /** @type {HTMLFormElement} */ (document.getElementById("choices"));
const picker = /** @type {HTMLInputElement} */ (document.getElementById("file"));

form.addEventListener("change", ask);
picker.addEventListener("change", async () => {
  await take(picker.files?.[0]);
  picker.value = ""; // so that the same file can be chosen again
});
document.getElementById("retry")?.addEventListener("click", ask);
document.addEventListener("paste", (event) => take(fileOf(event.clipboardData)));
document.addEventListener("dragover", (event) => {
  event.preventDefault();
  document.body.classList.add("dropping");
});
document.addEventListener("dragleave", (event) => {
  if (event.relatedTarget === null) {
    document.body.classList.remove("dropping");
  }
});
document.addEventListener("drop", (event) => {
  event.preventDefault();
  document.body.classList.remove("dropping");
  take(fileOf(event.dataTransfer));
});

await ask();
