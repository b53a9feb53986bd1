"""What :mod:`ssd_jax.page.script` puts into a page; plain JavaScript that any browser since 2022 runs."""

SCRIPT = r"""
"use strict";
(() => {
const all = (root, what) => Array.from(root.querySelectorAll(what));
const make = (name, text, properties) => Object.assign(document.createElement(name), {textContent: text}, properties);
const language = document.documentElement.lang || "en";
const collator = new Intl.Collator(language, {numeric: true, sensitivity: "base"});
const say = (status, shown, total) => {
  if (status) status.textContent = `${shown.toLocaleString(language)} of ${total.toLocaleString(language)} shown`;
};

// Tables: headings become buttons that sort, a text field filters.
function valueOf(cell, kind) {
  const holder = cell.matches("[data-value]") ? cell : cell.querySelector("[data-value]");
  const text = (holder ? holder.dataset.value : cell.textContent).trim();
  if (text === "" || text === "-") return null;
  if (kind === "text") return text;
  const value = Number(text.replace(/[,%\s]/g, ""));
  return Number.isNaN(value) ? null : value;
}
function sortRows(rows, column, kind, direction) {
  const keyed = rows.map((row, place) => ({row, place, value: valueOf(row.cells[column], kind)}));
  keyed.sort((one, other) => {
    if (one.value === null || other.value === null) {
      return (one.value === null) - (other.value === null) || one.place - other.place;
    }
    const order = kind === "text" ? collator.compare(one.value, other.value) : one.value - other.value;
    return direction * order || one.place - other.place;
  });
  return keyed.map(({row}) => row);
}
function setUpTable(box) {
  const body = box.querySelector("tbody");
  const rows = Array.from(body.rows);
  const headings = all(box, "thead th[data-sort]");
  for (const heading of headings) {
    const kind = heading.dataset.sort;
    const button = make("button", "", {type: "button", className: "sort"});
    button.append(...heading.childNodes);
    const arrow = make("span", "", {className: "arrow"});
    arrow.setAttribute("aria-hidden", "true");
    button.append(arrow);
    heading.append(button);
    button.addEventListener("click", () => {
      const before = heading.getAttribute("aria-sort");
      const next = before === "descending" || (before === null && kind === "text") ? "ascending" : "descending";
      for (const other of headings) other.removeAttribute("aria-sort");
      heading.setAttribute("aria-sort", next);
      body.append(...sortRows(rows, heading.cellIndex, kind, next === "ascending" ? 1 : -1));
    });
  }
  const field = box.querySelector("input");
  if (!field) return;
  const status = box.querySelector(".status");
  const names = rows.map((row) => row.cells[0].textContent.toLocaleLowerCase(language));
  const filter = () => {
    const wanted = field.value.trim().toLocaleLowerCase(language);
    let shown = 0;
    rows.forEach((row, place) => {
      row.hidden = !names[place].includes(wanted);
      shown += !row.hidden;
    });
    say(status, shown, rows.length);
  };
  field.addEventListener("input", filter);
  filter();
}

// Choices and galleries: menus of one group are switched together.
const refreshers = new Map();  // menu -> what shows its choice
function switchGroup(group, value) {
  for (const menu of refreshers.keys()) {
    if (menu.dataset.group !== group) continue;
    if (!Array.from(menu.options).some((option) => option.value === value)) {
      // A choice has nothing to show for it and stays; a gallery says that it has no such picture.
      if (menu.closest("[data-widget]").dataset.widget === "choice") continue;
      menu.add(new Option(value, value));
    }
    menu.value = value;
    refreshers.get(menu)();
  }
}
function changed(menu) {
  const group = menu.dataset.group;
  if (!group) return refreshers.get(menu)();
  switchGroup(group, menu.value);
  const address = `#${encodeURIComponent(group)}=${encodeURIComponent(menu.value)}`;
  try {
    history.replaceState(null, "", address);
  } catch (refused) {
    // Some browsers do not let a file change its address; the choice itself holds.
  }
}
function readAddress() {
  const [group, value] = location.hash.slice(1).split("=");
  if (value === undefined) return;
  try {
    switchGroup(decodeURIComponent(group), decodeURIComponent(value));
  } catch (malformed) {
    // An address typed by hand; nothing is chosen by it.
  }
}
function alignChoices() {
  // Choices of a group begin alike, with the first; galleries begin with everything.
  const first = new Map();
  for (const menu of all(document, '[data-widget="choice"] > .tools select[data-group]')) {
    if (!first.has(menu.dataset.group)) first.set(menu.dataset.group, menu.value);
    const value = first.get(menu.dataset.group);
    if (!Array.from(menu.options).some((option) => option.value === value)) continue;
    menu.value = value;
    refreshers.get(menu)();
  }
}
function setUpMenu(menu, refresh) {
  refreshers.set(menu, refresh);
  menu.addEventListener("change", () => changed(menu));
  refresh();
}
function setUpChoice(box) {
  const menu = box.querySelector(":scope > .tools select");
  const panels = all(box, ":scope > details");
  box.classList.add("scripted");
  for (const panel of panels) panel.setAttribute("aria-label", panel.dataset.name);
  setUpMenu(menu, () => {
    panels.forEach((panel) => {
      panel.hidden = panel.dataset.name !== menu.value;
      panel.open = !panel.hidden;
    });
  });
  for (const button of all(box, ":scope > .tools button")) {
    button.addEventListener("click", () => {
      const count = menu.options.length;
      menu.selectedIndex = (menu.selectedIndex + Number(button.dataset.step) + count) % count;
      changed(menu);
    });
  }
}
function setUpGallery(box) {
  const items = all(box, ":scope > ul > li").map((item) => ({item, tags: JSON.parse(item.dataset.tags)}));
  for (const {item} of items) setUpPicture(item, box);
  const menu = box.querySelector("select");
  if (!menu) return;
  const none = box.querySelector(":scope > .none");
  setUpMenu(menu, () => {
    let shown = 0;
    for (const {item, tags} of items) {
      item.hidden = menu.value !== box.dataset.everything && !tags.includes(menu.value);
      shown += !item.hidden;
    }
    say(box.querySelector(".status"), shown, items.length);
    none.hidden = shown > 0;
    none.textContent = shown > 0 ? "" : `None of these pictures belongs to ${menu.value}.`;
  });
}

// Pictures: a dialog shows one of those that are not filtered out.
let viewer = null;
function makeViewer() {
  const dialog = make("dialog", "", {className: "viewer"});
  dialog.setAttribute("aria-label", "Picture");
  const image = make("img", "");
  const caption = make("figcaption", "");
  const figure = make("figure", "");
  const place = make("p", "", {className: "status"});
  place.setAttribute("role", "status");
  const bar = make("div", "", {className: "tools"});
  const [previous, next, close] = ["Previous", "Next", "Close"].map((text) => make("button", text, {type: "button"}));
  const state = {buttons: [], position: 0};
  const show = (position) => {
    state.position = (position + state.buttons.length) % state.buttons.length;
    const item = state.buttons[state.position].closest("li");
    const small = item.querySelector("img");
    for (const name of ["src", "alt", "width", "height"]) image.setAttribute(name, small.getAttribute(name));
    image.style.maxWidth = `${3 * small.getAttribute("width")}px`;  // larger, there is nothing more to be seen
    caption.replaceChildren(...item.querySelector("figcaption").cloneNode(true).childNodes);
    place.textContent = `${state.position + 1} of ${state.buttons.length}`;
  };
  previous.addEventListener("click", () => show(state.position - 1));
  next.addEventListener("click", () => show(state.position + 1));
  close.addEventListener("click", () => dialog.close());
  dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
  dialog.addEventListener("close", () => state.buttons[state.position].focus());
  dialog.addEventListener("keydown", (event) => {
    const step = {ArrowLeft: -1, ArrowRight: 1}[event.key];
    if (!step) return;
    event.preventDefault();
    show(state.position + step);
  });
  bar.append(previous, next, place, close);
  figure.append(image, caption);
  dialog.append(bar, figure);
  document.body.append(dialog);
  return (buttons, position) => {
    state.buttons = buttons;
    previous.hidden = next.hidden = buttons.length < 2;
    show(position);
    dialog.showModal();
    close.focus();
  };
}
function setUpPicture(item, box) {
  const image = item.querySelector("img");
  const button = make("button", "", {type: "button", className: "open", title: "Show larger"});
  image.replaceWith(button);
  button.append(image);
  button.addEventListener("click", () => {
    viewer ??= makeViewer();
    const buttons = all(box, ":scope > ul > li:not([hidden]) button.open");
    viewer(buttons, buttons.indexOf(button));
  });
}

const kinds = {table: setUpTable, choice: setUpChoice, gallery: setUpGallery};
for (const box of all(document, "[data-widget]")) kinds[box.dataset.widget](box);
for (const tools of all(document, ".tools[hidden]")) tools.hidden = false;
alignChoices();
readAddress();
addEventListener("hashchange", readAddress);
})();
"""
