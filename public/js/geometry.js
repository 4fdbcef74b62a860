// @ts-check
/**
 * Points and strokes, in two spaces: CSS px, as events give them, and canvas px, in which a drawing
 * is kept: the sheet's side is SHEET of them whatever its size on the screen. In both y grows down.
 *
 * @typedef {readonly [x: number, y: number, width: number]} Point canvas px; the width in pens
 * @typedef {readonly Point[]} Stroke
 */

export const SHEET = 500; // canvas px, side of the sheet
export const PEN = 18; // canvas px; 2.5 to 4 pixels of the network's 28 for most drawings
const MIN_STEP = 1; // canvas px; closer points say nothing more of a line 18 wide
const MAX_POINTS = 2000; // sent at most; at 15 bytes each 30 KB of the server's 64 KiB
const FAST = 2.5; // canvas px a ms: a hand in a hurry
const SETTLE = 0.18; // share of the way to its new width that a line goes from point to point

/** The place on the sheet, which is at `box`, in CSS px; what is past its edge is along the edge. */
export function toSheet(clientX, clientY, { left, top, width, height }) {
  const within = (share) => SHEET * Math.min(Math.max(share, 0), 1);
  return [within((clientX - left) / width), within((clientY - top) / height)];
}

/**
 * How wide the line is at its next point, in pens: as the pen presses, or thinner in a hurry.
 *
 * @param {number} width at the point before
 * @param {number | null} pressure [0, 1]; null of what has none
 * @param {number} speed canvas px a ms
 */
export function nextWidth(width, pressure, speed) {
  const wanted = pressure === null ? 1.1 - 0.35 * Math.min(speed / FAST, 1) : 0.45 + pressure;
  return width + SETTLE * (wanted - width);
}

/** Adds points to a stroke, in place, but for those less than `step` canvas px from the one before. */
export function extend(stroke, points, step = MIN_STEP) {
  for (const point of points) {
    const last = stroke.at(-1);
    if (last === undefined || distance(last, point) >= step) stroke.push(point);
  }
}

/** Whether all the ink looks like one dot: no point is half a pen from the first, across or down. */
export function isDot(strokes) {
  const [[[x, y]]] = strokes;
  return strokes.flat().every((p) => Math.max(Math.abs(p[0] - x), Math.abs(p[1] - y)) < PEN / 2);
}

/** The strokes that lie in a box, as those of one digit of a number do. */
export function strokesIn(strokes, [x0, y0, x1, y1]) {
  const rim = 0.1; // what was sent was rounded
  return strokes.filter((stroke) =>
    stroke.every(([x, y]) => x >= x0 - rim && x <= x1 + rim && y >= y0 - rim && y <= y1 + rim),
  );
}

/**
 * The strokes as they are sent, to 0.1 canvas px and of at most `limit` points in all: thinned, twice
 * as coarsely each time, but for their ends; of very many strokes the last are left out.
 *
 * @param {readonly Stroke[]} strokes
 * @returns {number[][][]}
 */
export function toSend(strokes, limit = MAX_POINTS) {
  const isTooLong = () => simpler.flat().length > limit;
  let simpler = strokes;
  for (let step = 2 * MIN_STEP; isTooLong() && step < 2 * SHEET; step *= 2) {
    simpler = simpler.map((stroke) => thin(stroke, step));
  }
  if (isTooLong()) simpler = simpler.slice(0, limit / 2);
  const round = (value) => Math.round(10 * value) / 10;
  return simpler.map((stroke) => stroke.map(([x, y]) => [round(x), round(y)]));
}

function thin(stroke, step) {
  const kept = [];
  extend(kept, stroke.slice(0, -1), step);
  return [...kept, stroke.at(-1)];
}

function distance(a, b) {
  return Math.hypot(a[0] - b[0], a[1] - b[1]);
}
