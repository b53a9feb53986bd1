"""The page's script; plain JavaScript that any browser since 2022 runs. Texts enter the page as text, never as HTML."""

from ssd_jax.commands.serve.script_cards import CARDS

_BEGIN = r"""
"use strict";
(() => {
const $ = (id) => document.getElementById(id);
const model = JSON.parse($("content").dataset.model);
const probes = JSON.parse($("content").dataset.probes);
const classes = new Map(model.classes.map((kind) => [kind.label, kind]));
const language = document.documentElement.lang;
const MOST = 100, RETRIES = 30, LARGEST = 4096;  // files at a time; questions to a busy server; side of a drawn picture
const NO_ANSWER = "The server does not answer; is it still running?";
const NO_FILE = "This file cannot be read: it is a folder, or was changed or removed after it was chosen.";
const NOTHING = "This file is empty.";
const results = [];  // in the order of the page; an item has {name, content, answer, card, ...}
const waiting = [];  // those of them that are still to be sent
const hidden = new Set();  // labels that are switched off
let running = false;

function make(tag, properties = {}, ...content) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...content);
  return element;
}
const written = (number) => number.toLocaleString(language);
const count = (number, what) => `${written(number)} ${what}${number === 1 ? "" : "s"}`;
const say = (text) => { $("said").textContent = text; };
const least = () => Number($("threshold").value);
const isShown = (found) => found.score >= least() && !hidden.has(found.label);
function paint(element, label) {
  element.style.setProperty("--class", classes.get(label).color);
  element.style.setProperty("--text", classes.get(label).text);
  return element;
}
"""

_FLOW = r"""
// Everything that follows from the slider and the classes.
function show() {
  results.forEach(draw);
  placeLabels(results);
  const done = results.filter((item) => item.answer);
  drawChips(done.flatMap((item) => item.answer.detections));
  const objects = done.flatMap((item) => item.answer.detections.filter(isShown)).length;
  $("least").textContent = least().toFixed(2);
  const bad = results.filter((item) => item.failed).length;
  const toGo = results.length - done.length - bad;
  $("sum").textContent = [
    `${count(objects, "object")} in ${count(done.length, "picture")}`,
    ...(toGo ? [`${written(toGo)} to go`] : []),
    ...(bad ? [`${count(bad, "file")} could not be used`] : []),
  ].join("; ");
  $("controls").hidden = results.length === 0;
  document.body.classList.toggle("filled", results.length > 0);
}
function drawChips(detections) {
  const counts = new Map([...hidden].map((label) => [label, 0]));
  for (const {label, score} of detections) if (score >= least()) counts.set(label, (counts.get(label) ?? 0) + 1);
  const focused = document.activeElement?.dataset.label;
  const labels = [...counts.keys()].sort((one, other) => one - other);
  $("chips").replaceChildren(...labels.map((label) => {
    const name = make("span", {textContent: classes.get(label).name});
    const number = make("b", {textContent: written(counts.get(label))});
    const chip = paint(make("button", {type: "button", className: "chip"}, make("i"), name, number), label);
    chip.dataset.label = label;
    chip.setAttribute("aria-pressed", !hidden.has(label));
    chip.addEventListener("click", () => {
      if (!hidden.delete(label)) hidden.add(label);
      show();
    });
    return chip;
  }));
  if (focused) $("chips").querySelector(`[data-label="${focused}"]`)?.focus();
}

// One picture after another is sent; when others keep the server busy, it is asked again.
async function ask(item) {
  for (let attempt = 0; ; attempt += 1) {
    const begin = performance.now();
    const address = `api/detect?score_threshold=${model.score_threshold.lowest}`;
    const response = await fetch(address, {method: "POST", body: item.content});
    const answer = await response.json();
    item.milliseconds = performance.now() - begin;
    if (response.ok) return answer;
    if (response.status !== 503 || attempt === RETRIES) throw answer.error;
    item.note.textContent = "The server is busy with other pictures; waiting.";
    await new Promise((resolve) => setTimeout(resolve, 1000 * Number(response.headers.get("Retry-After") ?? 1)));
  }
}
async function isReadable(content) {
  return content.slice(0, 1).arrayBuffer().then(() => true, () => false);
}
async function detect(item) {
  item.note.textContent = "Detecting \u2026";
  try {
    if (!await isReadable(item.content)) throw NO_FILE;  // else the browser says no more than that sending failed
    if (item.content.size === 0) throw NOTHING;
    if (item.content.size > model.limits.bytes) throw model.limits.sentence;
    item.answer = await ask(item);
    await finish(item);
  } catch (error) {
    fail(item, typeof error === "string" ? error : NO_ANSWER);
  }
}
async function work() {
  if (running) return;
  running = true;
  for (let item = waiting.shift(); item; item = waiting.shift()) {
    await detect(item);
    show();
  }
  running = false;
}
function add(contents) {
  const some = contents.slice(0, MOST);
  const items = some.map((content) => ({name: content.name || "pasted picture", content}));
  items.forEach(addCard);
  results.unshift(...items);
  waiting.push(...items);
  $("results").prepend(...items.map((item) => item.card));
  say(contents.length > MOST ? `The first ${MOST} of ${written(contents.length)} files are taken.` : "");
  show();
  work();
}
function remove(item) {
  results.splice(results.indexOf(item), 1);
  if (waiting.includes(item)) waiting.splice(waiting.indexOf(item), 1);
  item.card.remove();
  URL.revokeObjectURL(item.url);
}

$("files").addEventListener("change", () => {
  add([...$("files").files]);
  $("files").value = "";  // so that the same file can be chosen again
});
let asked = 0;
$("threshold").addEventListener("input", () => {
  cancelAnimationFrame(asked);  // a slider may move more often than the screen is painted
  asked = requestAnimationFrame(show);
});
$("all").addEventListener("click", () => {
  hidden.clear();
  show();
});
$("none").addEventListener("click", () => {
  for (const chip of $("chips").children) hidden.add(Number(chip.dataset.label));
  show();
});
$("clear").addEventListener("click", () => {
  for (const item of [...results]) remove(item);
  hidden.clear();
  say("");
  show();
  $("files").focus();
});
for (const button of document.querySelectorAll("[data-example]")) {
  button.addEventListener("click", async () => {
    const response = await fetch(`examples/${button.dataset.example}`).catch(() => null);
    if (!response?.ok) return say(NO_ANSWER);
    add([new File([await response.blob()], button.title)]);
  });
}
let depth = 0;  // a child is entered before its parent is left
function over(change) {
  depth = change ? depth + change : 0;
  document.body.classList.toggle("over", depth > 0);
}
addEventListener("dragenter", () => over(1));
addEventListener("dragleave", () => over(-1));
addEventListener("dragover", (event) => event.preventDefault());
addEventListener("drop", (event) => {
  event.preventDefault();
  over(0);
  const files = [...event.dataTransfer.files];
  if (files.length) add(files);
  else say("What was dropped is no file; save the picture first, or copy and paste it.");
});
addEventListener("paste", (event) => {
  if (event.clipboardData.files.length) add([...event.clipboardData.files]);
});
for (const code of document.querySelectorAll("pre code")) {
  code.textContent = code.textContent.replaceAll("ADDRESS", location.origin);
}
show();
})();
"""

SCRIPT = _BEGIN + CARDS + _FLOW
