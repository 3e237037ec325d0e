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

/**
 * Offer photos to those who have none at hand.
 *
 * @param {readonly import("./models.js").Sample[]} samples
 * @param {(sample: import("./models.js").Sample) => void} take
 */
export function showSamples(samples, take) {
  const buttons = samples.map((sample) => {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "sample";
    const picture = document.createElement("img");
    Object.assign(picture, { src: sample.file, alt: "", width: 72, height: 48 });
    button.append(picture, spanOf("sample-title", sample.title));
    button.addEventListener("click", () => take(sample));
    return button;
  });
  element("samples").replaceChildren(...buttons);
}

/**
 * Lead the links to pages of the model server there.
 *
 * @param {string} serverUrl
 */
export function linkToServer(serverUrl) {
  /** @type {NodeListOf<HTMLAnchorElement>} */
  const links = document.querySelectorAll("a.at-server");
  for (const link of links) {
    link.href = new URL(link.pathname, serverUrl).href;
  }
}

/**
 * Show that answers are on their way; the last ones stay, dimmed, until the next are there.
 *
 * @param {readonly string[]} labels Who is asked, in this order.
 */
export function showAsking(labels) {
  setBusy(true);
  element("error").hidden = true;
  element("summary").replaceChildren();
  const columns = element("columns");
  while (columns.children.length > labels.length) {
    columns.lastElementChild?.remove();
  }
}

/**
 * @typedef {import("./classifier.js").Answer & { label: string }} LabelledAnswer
 *
 * @param {readonly LabelledAnswer[]} answers Those that are there, in the order of `showAsking`.
 * @param {{ isLast: boolean, sentBytes: number }} question
 */
export function showAnswers(answers, { isLast, sentBytes }) {
  element("error").hidden = true;
  element("empty").hidden = true;
  const columns = element("columns");
  columns.hidden = false;
  const longestMs = Math.max(...answers.map(({ elapsedMs }) => elapsedMs));
  answers.forEach((answer, place) => {
    const column = columns.children[place] ?? columns.appendChild(newColumn());
    showColumn(column, answer, { longestMs, sentBytes });
  });
  if (isLast) {
    setBusy(false);
    showVerdict(answers);
    element("summary").replaceChildren(answers.map(spoken).join(" "));
  }
}

/**
 * Say whether two versions agree on the likeliest class.
 *
 * @param {readonly LabelledAnswer[]} answers
 */
function showVerdict(answers) {
  const verdict = element("verdict");
  verdict.hidden = answers.length < 2;
  if (answers.length >= 2) {
    const [first, second] = answers;
    const [one, other] = [first.guesses[0].name, second.guesses[0].name];
    verdict.replaceChildren(
      one === other
        ? `Both versions say ${one}.`
        : `They disagree: ${first.label} says ${one}, ${second.label} says ${other}.`,
    );
  }
}

/** @param {LabelledAnswer} answer */
function spoken({ label, guesses: [best], model, version, elapsedMs }) {
  const time = `${whole.format(elapsedMs)} milliseconds`;
  return `${label}: ${best.name}, ${percent.format(best.score)}, from version ${version} of ${model} after ${time}.`;
}

function newColumn() {
  const template = /** @type {HTMLTemplateElement} */ (element("column"));
  return /** @type {Element} */ (
    /** @type {DocumentFragment} */ (template.content.cloneNode(true)).firstElementChild
  );
}

/**
 * @param {Element} column
 * @param {LabelledAnswer} answer
 * @param {{ longestMs: number, sentBytes: number }} question
 */
function showColumn(column, answer, { longestMs, sentBytes }) {
  const { label, guesses, model, version, elapsedMs, serverMs } = answer;
  const part = (/** @type {string} */ selector) =>
    /** @type {HTMLElement} */ (column.querySelector(selector));
  column.setAttribute("data-label", label);
  part("h3").replaceChildren(label);
  part(".answered-by").replaceChildren(`version ${version} of ${model}`);
  part(".classes").setAttribute("aria-label", `The likeliest classes, says ${label}`);
  showGuesses(part(".classes"), guesses);
  part(".total").replaceChildren(
    `${whole.format(elapsedMs)} ms for ${whole.format(sentBytes / 1000)} kB`,
  );
  const split = part(".split");
  split.hidden = serverMs === undefined;
  if (serverMs === undefined) {
    part(".parts").replaceChildren("The server does not say what it took of them.");
    return;
  }
  const networkMs = Math.max(0, elapsedMs - serverMs);
  split.style.setProperty("--server", String(serverMs / longestMs));
  split.style.setProperty("--network", String(networkMs / longestMs));
  part(".parts").replaceChildren(
    spanOf("key server", `Server ${whole.format(serverMs)} ms`),
    spanOf("key network", `Network ${whole.format(networkMs)} ms`),
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
    element("columns").hidden = true;
    element("verdict").hidden = true;
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
 * @param {HTMLElement} list
 * @param {readonly import("./classifier.js").Guess[]} guesses
 */
function showGuesses(list, guesses) {
  while (list.children.length < guesses.length) {
    list.append(newRow());
  }
  guesses.forEach(({ name, synonyms, score }, place) => {
    const [names, share, bar] = list.children[place].children;
    names.replaceChildren(spanOf("name", name), spanOf("synonyms", synonyms));
    share.replaceChildren(percent.format(score));
    /** @type {HTMLElement} */ (bar).style.setProperty("--share", String(score));
  });
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
