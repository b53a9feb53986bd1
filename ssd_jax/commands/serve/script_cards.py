"""The part of the page's script that draws: a card for each picture, its boxes, its list of objects."""

CARDS = r"""
// Which formats the browser turns upright by their EXIF orientation: a picture of 2 x 1 pixels has then 1 x 2.
const turns = Promise.all(Object.entries(probes).map(async ([format, url]) => {
  const image = make("img", {src: url});
  await image.decode().catch(() => null);
  return [format, image.naturalHeight !== 1];
})).then((pairs) => new Map(pairs));

// A card: the picture on the left, what was found on the right.
function addCard(item) {
  item.image = make("img", {alt: item.name});
  item.layer = make("div");
  item.layer.setAttribute("aria-hidden", "true");  // the list beside it says the same
  item.objects = [];
  item.pinned = null;
  item.view = make("div", {className: "view waiting"}, item.image, item.layer);
  item.note = make("p", {className: "faint", textContent: "Waiting."});
  item.list = make("ul", {className: "found", hidden: true});
  item.times = make("dl", {className: "timings", hidden: true});
  const button = make("button", {type: "button", className: "remove", textContent: "\u00d7", title: "Remove"});
  button.setAttribute("aria-label", `Remove ${item.name}`);
  button.addEventListener("click", () => {
    const next = item.card.nextElementSibling ?? item.card.previousElementSibling;
    remove(item);
    (next?.querySelector(".remove") ?? $("files")).focus();
    show();
  });
  const heading = make("header", {}, make("h2", {textContent: item.name}), button);
  const side = make("div", {className: "side"}, heading, item.note, item.list, item.times);
  item.card = make("article", {className: "result"}, make("div", {className: "stage"}, item.view), side);
  item.image.addEventListener("load", () => {
    if (!item.answer) resize(item, item.image.naturalWidth, item.image.naturalHeight);
  });
  item.image.addEventListener("error", () => item.view.classList.add("unseen"));
  item.url = URL.createObjectURL(item.content);
  item.image.src = item.url;
  new ResizeObserver(() => placeLabels([item])).observe(item.view);
}
function resize(item, width, height) {
  item.view.style.setProperty("--ratio", width / height);
  item.view.style.setProperty("--widest", `${Math.max(3 * width, 320)}px`);  // larger, there is nothing more to be seen
}
async function finish(item) {
  const {width, height, format, orientation, animated} = item.answer.image;
  item.view.classList.remove("waiting");
  resize(item, width, height);
  addObjects(item);
  const lies = orientation !== 1 && (await turns).get(format) === false;
  if (lies || animated) await redraw(item, lies ? orientation : 1);
  const {waiting, decode, network, whole} = item.answer.milliseconds;
  const times = {decode, network, whole, "round trip": item.milliseconds};
  if (waiting > 20) times.waited = waiting;
  const digits = (value) => value.toLocaleString(language, {maximumFractionDigits: value < 9.95 ? 1 : 0});
  item.times.replaceChildren(...Object.entries(times).map(([name, value]) =>
    make("div", {}, make("dt", {textContent: name}), make("dd", {textContent: `${digits(value)} ms`}))));
  item.times.hidden = false;
}
async function redraw(item, orientation) {
  // The boxes are those of the upright picture, and of the first of an animation; so that is what has to be seen.
  const bitmap = await createImageBitmap(item.content);
  const {width, height} = bitmap;
  const scale = Math.min(1, LARGEST / Math.max(width, height));
  const [wide, high] = [width, height].map((side) => Math.max(1, Math.round(scale * side)));
  const canvas = make("canvas", orientation < 5 ? {width: wide, height: high} : {width: high, height: wide});
  const pen = canvas.getContext("2d");
  pen.setTransform(...{
    1: [1, 0, 0, 1, 0, 0],
    2: [-1, 0, 0, 1, wide, 0],
    3: [-1, 0, 0, -1, wide, high],
    4: [1, 0, 0, -1, 0, high],
    5: [0, 1, 1, 0, 0, 0],
    6: [0, 1, -1, 0, high, 0],
    7: [0, -1, -1, 0, high, wide],
    8: [0, -1, 1, 0, 0, wide],
  }[orientation]);
  pen.drawImage(bitmap, 0, 0, wide, high);
  bitmap.close();
  const still = await new Promise((resolve) => canvas.toBlob(resolve));
  URL.revokeObjectURL(item.url);
  item.url = URL.createObjectURL(still);
  item.image.src = item.url;
}
function fail(item, sentence) {
  item.failed = true;
  item.card.classList.add("failed");
  item.view.classList.remove("waiting");
  item.note.replaceWith(make("div", {className: "callout bad"}, make("p", {textContent: sentence})));
}

// Boxes over the picture in percent, so that they follow its size; labels in pixels, so that they can be read.
function addObjects(item) {
  item.objects = item.answer.detections.map((found) => ({
    found, box: makeBox(found, item.answer.image), label: makeLabel(found), row: makeRow(item, found),
  }));
  const upward = [...item.objects].reverse();  // the best on top
  item.layer.append(...upward.map(({box}) => box), ...upward.map(({label}) => label));
  item.list.append(...item.objects.map(({row}) => row));
}
function makeBox({box: [left, top, right, bottom], label}, {width, height}) {
  const box = paint(make("div", {className: "box"}), label);
  box.style.left = `${100 * left / width}%`;
  box.style.top = `${100 * top / height}%`;
  box.style.width = `${100 * (right - left) / width}%`;
  box.style.height = `${100 * (bottom - top) / height}%`;
  return box;
}
function makeLabel({name, score, label}) {
  return paint(make("div", {className: "label", textContent: `${name} ${score.toFixed(2)}`}), label);
}
function makeRow(item, found) {
  const fill = make("u");
  fill.style.width = `${100 * found.score}%`;
  const pieces = [
    paint(make("i"), found.label),
    make("span", {textContent: found.name}),
    make("div", {className: "share"}, fill),
    make("b", {textContent: found.score.toFixed(2)}),
  ];
  const [left, top, right, bottom] = found.box.map(Math.round);
  const title = `${found.name}, from (${left}, ${top}) to (${right}, ${bottom})`;
  const button = make("button", {type: "button", title}, ...pieces);
  button.addEventListener("click", () => {
    item.pinned = item.pinned === found ? null : found;
    mark(item);
  });
  button.addEventListener("pointerenter", () => mark(item, found));
  button.addEventListener("pointerleave", () => mark(item));
  return make("li", {}, button);
}
function draw(item) {
  for (const {found, box, label, row} of item.objects) box.hidden = label.hidden = row.hidden = !isShown(found);
  const visible = item.objects.map(({found}) => found).filter(isShown);
  if (!visible.includes(item.pinned)) item.pinned = null;
  item.list.hidden = visible.length === 0;
  if (item.answer) describe(item, visible);
  mark(item);
}
function placeLabels(items) {
  // The best choose first: above the box, inside at its top, below, inside at its bottom; at its left or right end.
  // First everything is measured, then everything moved: the browser lays the page out once.
  const measured = items.map((item) => ({
    wide: item.view.clientWidth,
    high: item.view.clientHeight,
    objects: item.objects.filter(({label}) => !label.hidden).map(({box, label}) => ({
      label, left: box.offsetLeft, top: box.offsetTop, right: box.offsetLeft + box.offsetWidth,
      bottom: box.offsetTop + box.offsetHeight, width: label.offsetWidth, height: label.offsetHeight,
    })),
  }));
  for (const {wide, high, objects} of measured) {
    const taken = [];
    for (const {label, left, top, right, bottom, width, height} of objects) {
      const spots = [top - height, top, bottom, bottom - height].flatMap((y) => [[left, y], [right - width, y]]);
      const inside = spots.map(([x, y]) =>
        [Math.max(0, Math.min(x, wide - width)), Math.max(0, Math.min(y, high - height))]);
      const isFree = ([x, y]) => !taken.some((other) =>
        x < other.x + other.width && other.x < x + width && y < other.y + other.height && other.y < y + height);
      const free = inside.find(isFree);
      const [x, y] = free ?? inside[0];
      label.classList.toggle("crowded", !free);  // seen when its object is pointed at
      if (free) taken.push({x, y, width, height});
      label.style.transform = `translate(${x}px,${y}px)`;
    }
  }
}
function describe(item, visible) {
  const {image, detections} = item.answer;
  const hiddenOnes = detections.length - visible.length;
  const parts = [
    count(visible.length, "object") + (hiddenOnes ? `, ${written(hiddenOnes)} not shown` : ""),
    `${written(image.width)} \u00d7 ${written(image.height)} pixels`,
  ];
  if (image.animated) parts.push("an animation, of which the first picture counts");
  item.note.textContent = `${parts.join("; ")}.`;
  const names = new Map();
  for (const {name} of visible) names.set(name, (names.get(name) ?? 0) + 1);
  const said = [...names].map(([name, number]) => `${number} ${name}`).join(", ");
  item.image.alt = `${item.name}: ${said || "nothing found"}`;
}
function mark(item, pointed = item.pinned) {
  // One object stands out: that pointed at, else that chosen.
  item.layer.classList.toggle("pinned", pointed !== null);
  for (const {found, box, label, row} of item.objects) {
    box.classList.toggle("on", found === pointed);
    label.classList.toggle("on", found === pointed);
    row.firstChild.setAttribute("aria-pressed", found === item.pinned);
  }
}
"""
