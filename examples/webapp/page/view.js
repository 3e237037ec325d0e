// The page as people see it: what is asked shows here, and nothing is asked here.

const percent = new Intl.NumberFormat("en", {
  style: "percent",
  minimumFractionDigits: 1,
  maximumFractionDigits: 1,
});
const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });

/** @param {string} id */
const element = (id) => /** @type {HTMLElement} */ (document.getElementById(id));

/**
 * Fill a group of radio buttons and show the hint of the one that is checked.
 *
 * @param {"labels" | "models"} group
 * @param {readonly import("./models.js").Choice[]} choices The first is checked.
 */
export function showChoices(group, choices) {
  const hint = element(group === "labels" ? "label-hint" : "model-hint");
  const buttons = choices.map((choice, place) => {
    const input = document.createElement("input");
    Object.assign(input, { type: "radio", name: group, value: choice.name, checked: place === 0 });
    input.setAttribute("aria-describedby", hint.id);
    input.addEventListener("change", () => hint.replaceChildren(choice.hint));
    const label = document.createElement("label");
    label.append(input, spanOf("segment", choice.title));
    return label;
  });
  element(group).replaceChildren(...buttons);
  hint.replaceChildren(choices[0].hint);
}

/** @param {string} url */
export function showPhoto(url) {
  const preview = /** @type {HTMLImageElement} */ (element("preview"));
  preview.src = url;
  preview.hidden = false;
  element("drop").classList.add("filled");
}

/** Show that an answer is on its way; the last one stays, dimmed, until the next is there. */
export function showAsking() {
  setBusy(true);
  element("error").hidden = true;
  element("summary").replaceChildren();
}

/**
 * @param {import("./classifier.js").Answer} answer
 * @param {{ label: string, sentBytes: number }} question
 */
export function showAnswer(answer, { label, sentBytes }) {
  const { guesses, model, version, elapsedMs } = answer;
  setBusy(false);
  element("error").hidden = true;
  element("empty").hidden = true;
  showGuesses(guesses);
  element("fact-model").replaceChildren(model);
  element("fact-version").replaceChildren(`${version}, ${label}`);
  element("fact-time").replaceChildren(`${whole.format(elapsedMs)} ms`);
  element("fact-sent").replaceChildren(`${whole.format(sentBytes / 1000)} kB`);
  element("facts").hidden = false;
  const [best] = guesses;
  element("summary").replaceChildren(
    `${best.name}, ${percent.format(best.score)}, says version ${version} of ${model} ` +
      `after ${whole.format(elapsedMs)} milliseconds.`,
  );
}

/**
 * @param {string} title
 * @param {string} text
 * @param {{ canRetry: boolean }} options
 */
export function showError(title, text, { canRetry }) {
  setBusy(false);
  if (!element("error").hidden && element("error-text").textContent === text) {
    return; // set again, it would be read out again
  }
  element("error-title").replaceChildren(title);
  element("error-text").replaceChildren(text);
  element("retry").hidden = !canRetry;
  element("error").hidden = false;
  if (canRetry) {
    // What is shown answers another question, or none.
    element("empty").hidden = true;
    element("classes").hidden = true;
    element("facts").hidden = true;
  }
}

/** Show that what stood in the way is gone, and that nothing has been asked yet. */
export function showReady() {
  setBusy(false);
  element("error").hidden = true;
  element("empty").hidden = false;
}

/** @param {boolean} isBusy */
function setBusy(isBusy) {
  element("answer").setAttribute("aria-busy", String(isBusy));
}

/**
 * Give each place its guess. Rows are kept from answer to answer, so that the bars move.
 *
 * @param {readonly import("./classifier.js").Guess[]} guesses
 */
function showGuesses(guesses) {
  const list = element("classes");
  while (list.children.length < guesses.length) {
    list.append(newRow());
  }
  guesses.forEach(({ name, synonyms, score }, place) => {
    const [names, share, bar] = list.children[place].children;
    names.replaceChildren(spanOf("name", name), spanOf("synonyms", synonyms));
    share.replaceChildren(percent.format(score));
    /** @type {HTMLElement} */ (bar).style.setProperty("--share", String(score));
  });
  list.hidden = false;
}

function newRow() {
  const row = document.createElement("li");
  const bar = spanOf("bar", "");
  bar.setAttribute("aria-hidden", "true"); // the number says it
  row.append(spanOf("names", ""), spanOf("share", ""), bar);
  return row;
}

/**
 * @param {string} className
 * @param {string} text
 */
function spanOf(className, text) {
  const span = document.createElement("span");
  span.className = className;
  span.textContent = text;
  return span;
}
