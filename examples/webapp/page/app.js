// Take a photo, ask the model server, show what it says; ask again when a choice changes.

import { createClassifier, isAway } from "./classifier.js";
import { LABELS, MODELS } from "./models.js";
import { readPhoto } from "./photo.js";
import { HTTP_PORT } from "./settings.js";
import { showAnswer, showAsking, showChoices, showError, showPhoto, showReady } from "./view.js";

const PROBE_INTERVAL_MS = 2_000;

const serverUrl = `${location.protocol}//${location.hostname}:${HTTP_PORT}`;
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
  const question = { model: chosen("models"), label: chosen("labels"), signal };
  showAsking();
  try {
    const answer = await classifier.classify(jpeg, question);
    if (!signal.aborted) {
      showAnswer(answer, { label: question.label, sentBytes: jpeg.length });
    }
  } catch (error) {
    if (signal.aborted) {
      return;
    }
    if (!isAway(error)) {
      showError("The model server refused", textOf(error), { canRetry: true });
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
  const text = `No answer from ${serverUrl}. It is looked for every other second; this page goes on when it is there.`;
  showError("The model server is away", text, { canRetry: true });
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
    showError("No photo", textOf(error), { canRetry: false });
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

showChoices("labels", LABELS);
showChoices("models", MODELS);

const form = /** @type {HTMLFormElement} */ (document.getElementById("choices"));
const picker = /** @type {HTMLInputElement} */ (document.getElementById("file"));

form.addEventListener("change", ask);
picker.addEventListener("change", async () => {
  await take(picker.files?.[0]);
  picker.value = ""; // so that the same file can be chosen again
});
document.getElementById("retry")?.addEventListener("click", ask);
document.getElementById("sample")?.addEventListener("click", async () => {
  await take(await (await fetch("panda.jpg")).blob());
});
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
