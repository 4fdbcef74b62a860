// @ts-check
/**
 * The view inside: how the drawing became an image, which ink spoke for the answer, and what each
 * layer of the network gives. Loaded when it is opened.
 *
 * The answer of api/explain: {"digit", "importance": 28 rows of 28 nats, "steps": {"fitted",
 * "centre", "image"}, "layers": [{"name", "channels", "rows", "columns", "values": base64 of a byte
 * each, "field": {"size", "stride", "offset"}}, ..., {"logits"}]}
 */

import { ask } from "./api.js";
import { PEN, strokesIn, toSend } from "./geometry.js";
import { paintPixels } from "./sheet.js";
import { fill, troubleText } from "./texts.js";

const MAP = 44; // CSS px, of a map in its layer's picture
const INK = 40; // of 255; what is fainter is the edge of ink

let paints = []; // what paints the canvases anew
let asked = new AbortController();

/** Loads its style sheet; rejects where that fails. */
export function prepare() {
  return new Promise((onload, onerror) => {
    const href = new URL("../css/inside.css", import.meta.url).href;
    const link = document.createElement("link");
    document.head.append(Object.assign(link, { rel: "stylesheet", href, onload, onerror }));
  });
}

/**
 * Shows all about a digit of a drawing.
 *
 * @param {{texts: import("./texts.js").Texts, strokes: import("./geometry.js").Stroke[],
 *   digits: {digit: number, box: number[]}[], onClose: () => void}} about
 * @param {number} place of the digit in the number
 * @param {number} [digit] to speak for; the one that was read
 */
export async function openInside(section, url, about, place = 0, digit) {
  const { digits, onClose, texts } = about;
  asked.abort();
  asked = new AbortController();
  const isNumber = digits.length > 1;
  const strokes = isNumber ? strokesIn(about.strokes, digits[place].box) : about.strokes;
  const body = { strokes: toSend(strokes), digit };
  const outcome = await ask(url, body, isExplanation, { signal: asked.signal });
  if (outcome.kind === "dropped") return;
  const buttons = () => [...section.querySelectorAll("button")];
  const focused = buttons().indexOf(document.activeElement);
  const choice = (name, place, digit, isChosen) => {
    return button(name, () => openInside(section, url, about, place, digit), isChosen);
  };
  const { inside, page } = texts;
  paints = [];
  const title = make(`<h2 id="inside-title">${inside.title}</h2>`);
  section.replaceChildren(make("<header>", title, button(page.back, onClose)));
  section.hidden = false;
  if (outcome.kind !== "answer") {
    const words = make("<p>", troubleText(texts, outcome).join(" "));
    section.append(words, choice(page.retry, place, digit));
    if (focused >= 0) buttons().at(-1).focus();
    return;
  }
  if (isNumber) {
    const tabs = digits.map((each, i) => {
      return choice(fill(inside.digit, { i: i + 1, what: each.digit }), i, undefined, i === place);
    });
    section.append(make('<p class="choices">', ...tabs));
  }
  const told = outcome.answer;
  const others = Array.from({ length: 10 }, (_, i) => choice(`${i}`, place, i, i === told.digit));
  const spoke = fill(inside.spokeMore, { what: texts.a(told.digit) });
  section.append(
    part(3, inside.steps, "", stepsOf(inside, strokes, told.steps)),
    part(3, inside.spoke, spoke, spokenFor(told), make('<p class="choices">', inside.why, ...others)),
    part(3, inside.layers, inside.layersMore, layersOf(inside, told)),
  );
  repaint();
  buttons()[focused]?.focus(); // the same one, made anew
}

/** Hears no answer that is still to come. */
export function stop() {
  asked.abort();
}

/** Paints all pictures anew, as after a change of colours. */
export function repaint() {
  for (const paint of paints) paint();
}

function stepsOf(inside, strokes, { fitted, centre: [x, y], image }) {
  const [xs, ys] = [0, 1].map((axis) => strokes.flat().map((point) => point[axis]));
  const [left, top] = [Math.min(...xs), Math.min(...ys)];
  const [width, height] = [Math.max(...xs) - left, Math.max(...ys) - top];
  const side = Math.max(width, height) + 3 * PEN;
  const viewBox = [left + (width - side) / 2, top + (height - side) / 2, side, side].join(" ");
  const lines = strokes.map((stroke) => {
    const points = stroke.map(([x, y]) => `${x},${y}`).join(" ");
    return `<polyline points="${points}" stroke-width="${PEN}"/>`;
  });
  const corner = `x="${left - PEN / 2}" y="${top - PEN / 2}"`;
  const box = `<rect ${corner} width="${width + PEN}" height="${height + PEN}"/>`;
  const drawing = make(`<div class="picture"><svg viewBox="${viewBox}">${lines.join("")}${box}`);
  const frame = '<rect x="4" y="4" width="20" height="20"/>';
  const dot = (x, y) => `<circle cx="${x + 0.5}" cy="${y + 0.5}" r="1"/>`;
  const views = [drawing, picture(fitted, frame + dot(x, y)), picture(image, dot(14, 14))];
  const items = [inside.boxed, inside.fitted, inside.centred].map(([name, more], i) => {
    return make("<li>", views[i], make(`<p><b>${name}</b> ${more}`));
  });
  return make('<ol class="steps">', ...items);
}

/** One over the other: the ink that spoke for the digit, and the ink against it. */
function spokenFor({ importance, steps: { image } }) {
  const most = Math.max(...importance.flat().map(Math.abs), 1);
  const views = [1, -1].map((sign) => {
    const rows = importance.map((row, y) =>
      row.map((value, x) => (image[y][x] > INK ? 25 + (230 * sign * value) / most : 0)),
    );
    return picture(rows, "");
  });
  return make('<div class="spoke">', ...views);
}

function layersOf(inside, { layers, steps: { image } }) {
  const maps = layers.slice(0, -1).map((layer, i) => {
    const { name, channels, rows, columns, field } = layer;
    const kind = name.startsWith("maxpool") ? "pooled" : i === 0 ? "first" : "deeper";
    const words = inside[field ? kind : "units"];
    const title = `${name}: ${channels} × ${rows} × ${columns}`;
    return part(4, title, fill(words, { k: field?.size }), explorable(inside, layer, image));
  });
  const { logits } = layers.at(-1);
  const [low, high] = [Math.min(...logits), Math.max(...logits)];
  const sums = logits.map((logit, i) => {
    const name = `<b>${i < 10 ? i : inside.none}</b>`;
    const sum = make(`<li>${name}<i></i><span>${logit.toFixed(1).replace("-", "\u2212")}</span>`);
    sum.classList.toggle("best", logit === high);
    sum.children[1].style.setProperty("--share", (logit - low) / (high - low));
    return sum;
  });
  const last = part(4, inside.last, inside.lastMore, make('<ol class="sums">', ...sums));
  return make('<div class="layers">', ...maps, last);
}

/** A layer's maps, one of which is chosen; that lies over the image, what it answers to framed. */
function explorable(inside, { channels, rows, columns, values, field }, image) {
  const bytes = Uint8Array.from(atob(values), (character) => character.charCodeAt(0));
  // A layer of units has one row of them: each is a map of its own.
  const [count, height, width] = rows === 1 ? [columns, 1, 1] : [channels, rows, columns];
  const across = Math.ceil(Math.sqrt(2 * count));
  const down = Math.ceil(count / across);
  const [stepX, stepY] = [width + 1, height + 1]; // a pixel between them
  const pixels = Array.from({ length: down * stepY }, (_, y) =>
    Array.from({ length: across * stepX }, (_, x) => {
      const map = Math.floor(y / stepY) * across + Math.floor(x / stepX);
      const [row, column] = [y % stepY, x % stepX];
      const isGap = row === height || column === width || map >= count;
      return isGap ? 0 : 20 + 0.92 * bytes[(map * height + row) * width + column];
    }),
  );
  const grid = picture(pixels, `<rect width="${width}" height="${height}"/>`);
  grid.style.maxInlineSize = `${MAP * across}px`;
  const probe = picture(image, "<rect/>");
  probe.hidden = !field;
  const heat = make('<canvas class="heat">');
  probe.firstChild.after(heat);
  let own = bytes; // the chosen map's
  const label = make(`<label><span></span><input type="range" max="${count - 1}">`);
  const [name, slider] = label.children;
  slider.value = Math.floor(bytes.indexOf(Math.max(...bytes)) / (height * width)); // the strongest

  function choose() {
    const chosen = Number(slider.value);
    name.textContent = fill(inside.map, { i: chosen + 1, n: count });
    const [x, y] = [(chosen % across) * stepX, Math.floor(chosen / across) * stepY];
    place(grid, { x, y });
    if (!field) return;
    own = bytes.subarray(chosen * height * width, (chosen + 1) * height * width);
    paintHeat();
    const best = own.indexOf(Math.max(...own));
    const side = own[best] > 0 ? field.size : 0; // nothing made it answer
    const corner = (i) => field.offset + field.stride * i;
    const [column, row] = [best % width, Math.floor(best / width)];
    place(probe, { x: corner(column), y: corner(row), width: side, height: side });
  }

  /** The chosen map over the image, each of its pixels on the middle of what it sees. */
  function paintHeat() {
    const { size, stride, offset } = field;
    const cell = (at) => Math.floor((at - offset - (size - stride) / 2) / stride);
    const line = (y) => (y < 0 ? [] : own.subarray(y * width, (y + 1) * width));
    paintPixels(heat, image.map((row, y) => row.map((_, x) => line(cell(y))[cell(x)] ?? 0)));
  }

  if (field) paints.push(paintHeat);
  slider.addEventListener("input", choose);
  grid.addEventListener("click", ({ clientX, clientY }) => {
    const box = grid.getBoundingClientRect();
    const column = Math.floor(((clientX - box.left) / box.width) * across);
    slider.value = Math.floor(((clientY - box.top) / box.height) * down) * across + column;
    choose();
  });
  choose();
  return make('<div class="maps">', grid, make('<div class="probe">', probe, label));
}

function place(view, attributes) {
  const rect = view.querySelector("rect");
  for (const [name, value] of Object.entries(attributes)) rect.setAttribute(name, value);
}

/** A canvas of pixels from 0 to 255, with marks over it in its pixels. */
function picture(pixels, marks) {
  const viewBox = `0 0 ${pixels[0].length} ${pixels.length}`;
  const view = make(`<div class="picture"><canvas></canvas><svg viewBox="${viewBox}">${marks}`);
  paints.push(() => paintPixels(view.firstChild, pixels));
  return view;
}

function part(level, title, words, ...content) {
  return make(`<section><h${level}>${title}</h${level}><p>${words}</p>`, ...content);
}

function button(name, press, isChosen) {
  const made = make("<button>", name);
  if (isChosen !== undefined) made.ariaPressed = isChosen;
  made.addEventListener("click", press);
  return made;
}

/** The element of some HTML, of this page's own words and the server's numbers, with children. */
function make(html, ...children) {
  const template = document.createElement("template");
  template.innerHTML = html;
  const made = /** @type {any} */ (template.content.firstChild);
  made.append(...children);
  return made;
}

function isExplanation(body) {
  return body?.steps?.image?.length > 0 && body.importance?.length > 0 && body.layers?.length > 1;
}
