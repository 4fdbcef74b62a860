// @ts-check
/**
 * Points and strokes, apart from the page.
 *
 * Two spaces: CSS px, as pointer events and getBoundingClientRect() give them, and canvas px, in
 * which a drawing is kept: the sheet's side is SHEET canvas px whatever its size on the screen, so
 * zoom, resizing and pixel density never touch a drawing that stands. In both y grows downwards.
 *
 * @typedef {readonly [x: number, y: number]} Point canvas px
 * @typedef {readonly Point[]} Stroke
 * @typedef {{readonly left: number, readonly top: number, readonly width: number,
 *   readonly height: number}} Box CSS px
 */

export const SHEET = 500; // canvas px, side of the sheet
export const PEN = 18; // canvas px; 2.5 to 4 pixels of the network's 28 for most drawings
export const MIN_STEP = 1; // canvas px; closer points say nothing more of a line 18 wide
export const MAX_POINTS = 2000; // sent at most; at 15 bytes each 30 KB of the server's 64 KiB
const DECIMALS = 10; // coordinates are sent to 0.1 canvas px

/**
 * The place on the sheet under a place on the screen, held inside the sheet: what is drawn past
 * the edge is seen, and sent, along the edge.
 *
 * @param {number} clientX CSS px
 * @param {number} clientY CSS px
 * @param {Box} box where the sheet is now
 * @returns {Point}
 */
export function toSheet(clientX, clientY, box) {
  return [
    within(((clientX - box.left) * SHEET) / box.width),
    within(((clientY - box.top) * SHEET) / box.height),
  ];
}

/**
 * Adds points to a stroke being drawn, leaving out those less than `step` from the one before.
 *
 * @param {Point[]} stroke changed in place
 * @param {readonly Point[]} points
 * @param {number} step canvas px
 */
export function extend(stroke, points, step = MIN_STEP) {
  for (const point of points) {
    const last = stroke.at(-1);
    if (last === undefined || distance(last, point) >= step) stroke.push(point);
  }
}

/**
 * Whether all the ink looks like one dot: no point is half a pen's width from the first, across
 * or down.
 *
 * @param {readonly Stroke[]} strokes at least one point
 */
export function isDot(strokes) {
  const [[[x, y]]] = strokes;
  return strokes.flat().every((p) => Math.max(Math.abs(p[0] - x), Math.abs(p[1] - y)) < PEN / 2);
}

/**
 * The strokes with at most `limit` points in all: first every stroke is thinned, twice as coarsely
 * each time, and its two ends stay; strokes that are more than the limit even as single points
 * are left out evenly.
 *
 * @param {readonly Stroke[]} strokes
 * @param {number} limit
 * @returns {Stroke[]}
 */
export function simplify(strokes, limit = MAX_POINTS) {
  let simpler = strokes.filter((stroke) => stroke.length > 0);
  for (let step = 2 * MIN_STEP; count(simpler) > limit && step < 2 * SHEET; step *= 2) {
    simpler = simpler.map((stroke) => thin(stroke, step));
  }
  if (count(simpler) <= limit) return simpler;
  const dots = simpler.map((stroke) => stroke.slice(0, 1));
  return Array.from({ length: Math.min(limit, dots.length) }, (_, i) => {
    return dots[Math.floor((i * dots.length) / limit)];
  });
}

/**
 * The strokes with every coordinate to 0.1 canvas px.
 *
 * @param {readonly Stroke[]} strokes
 * @returns {Stroke[]}
 */
export function rounded(strokes) {
  const round = (/** @type {number} */ value) => Math.round(value * DECIMALS) / DECIMALS;
  return strokes.map((stroke) => stroke.map(([x, y]) => [round(x), round(y)]));
}

/**
 * An SVG path along a stroke, smooth: quadratic curves between the middles of its lines, with its
 * points as control points. A single point becomes a line that round caps make a dot.
 *
 * @param {Stroke} stroke
 * @returns {string}
 */
export function pathOf(stroke) {
  if (stroke.length === 0) return "";
  const [first] = stroke;
  const last = stroke[stroke.length - 1];
  let path = `M${first[0]} ${first[1]}`;
  if (stroke.length === 1) return `${path}h0.01`; // a canvas leaves out lines of no length
  for (let i = 1; i < stroke.length - 1; i++) {
    const [x, y] = stroke[i];
    const [nextX, nextY] = stroke[i + 1];
    path += `Q${x} ${y} ${(x + nextX) / 2} ${(y + nextY) / 2}`;
  }
  return `${path}L${last[0]} ${last[1]}`;
}

/**
 * @param {Stroke} stroke
 * @param {number} step canvas px
 * @returns {Stroke}
 */
function thin(stroke, step) {
  const last = stroke[stroke.length - 1];
  /** @type {Point[]} */
  const kept = [];
  extend(kept, stroke, step);
  if (kept[kept.length - 1] === last) return kept;
  return distance(kept[0], last) < step && kept.length === 1 ? kept : [...kept, last];
}

/** @param {readonly Stroke[]} strokes */
function count(strokes) {
  return strokes.reduce((sum, stroke) => sum + stroke.length, 0);
}

/**
 * @param {Point} a
 * @param {Point} b
 */
function distance(a, b) {
  return Math.hypot(a[0] - b[0], a[1] - b[1]);
}

/** @param {number} value canvas px */
function within(value) {
  return Math.min(Math.max(value, 0), SHEET);
}
