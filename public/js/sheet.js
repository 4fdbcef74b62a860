// @ts-check
/**
 * The sheet: a canvas for the ink, which only grows in a stroke, and one over it for what comes and
 * goes.
 *
 * @typedef {import("./geometry.js").Stroke} Stroke
 * @typedef {{strokes: readonly Stroke[], live: Stroke | null, ahead: Stroke, ghost: Stroke[],
 *   digits: {digit: number, is_digit: boolean, box: number[]}[]}} Scene finished and being drawn,
 *   where its pen will be, perhaps, the example in faint ink, and what was read, to be boxed
 */

import { PEN, SHEET } from "./geometry.js";

const LABEL = 26; // canvas px, the height of what a digit was read as
const RIM = PEN / 2 + 4; // canvas px from a line's middle to the box around it

/**
 * Keeps two canvases painted, their pixels those of the screen: anew after a change of size or
 * density (browser zoom, another screen).
 *
 * @param {() => Scene} scene
 */
export function useSheet(ink, over, scene) {
  const teardown = new AbortController();
  let frame = 0; // of requestAnimationFrame, 0 = none asked for
  let painted = 0; // points of the live stroke
  let isStale = false; // all is to be painted anew

  /** Paint in the next frame what was added to the live stroke, or all anew. */
  function repaint(all = true) {
    isStale ||= all;
    frame ||= requestAnimationFrame(paint);
  }

  function paint() {
    frame = 0;
    const { strokes, live } = scene();
    const context = penOn(ink);
    if (isStale) {
      context.clearRect(0, 0, SHEET, SHEET);
      for (const stroke of strokes) paintStroke(context, stroke);
      painted = 0;
      isStale = false;
    }
    if (live !== null) {
      paintStroke(context, live, painted, live.length - 1);
      painted = live.length - 1;
    }
    paintOver(over, scene());
  }

  /** The live stroke is done. */
  function finish() {
    const { live } = scene();
    if (live !== null && !isStale) paintStroke(penOn(ink), live, painted);
    painted = 0;
    repaint(false);
  }

  const observer = new ResizeObserver(([entry]) => {
    const box = ink.getBoundingClientRect();
    const { inlineSize, blockSize } = entry.devicePixelContentBoxSize?.[0] ?? {};
    const size = { width: pixels(box.width, inlineSize), height: pixels(box.height, blockSize) };
    for (const canvas of [ink, over]) Object.assign(canvas, size);
    isStale = true;
    paint(); // at once: a frame later a resized canvas would have flickered
  });

  function watchDensity() {
    // Observing anew makes it call back, though the size in CSS px is the same.
    observer.disconnect();
    try {
      observer.observe(ink, { box: "device-pixel-content-box" });
    } catch {
      observer.observe(ink); // Safari
    }
    // A query for one density changes once; the next density needs a query of its own.
    const query = matchMedia(`(resolution: ${devicePixelRatio}dppx)`);
    query.addEventListener("change", watchDensity, { signal: teardown.signal, once: true });
  }

  watchDensity();
  function stop() {
    teardown.abort();
    observer.disconnect();
    cancelAnimationFrame(frame);
  }

  return { repaint, finish, stop };
}

/**
 * The screen's pixels along a side of CSS px, exactly where the observer says them: Safari's does
 * not, and under an emulated density Chromium's says those of the real one.
 */
function pixels(side, exact) {
  const product = side * devicePixelRatio;
  return Math.abs(exact - product) < 1 ? exact : Math.round(product);
}

/**
 * Paints a stroke from point `from` to before `to`, smooth: quadratic curves between the middles of
 * its lines, its points as control points, each as wide as the pen was there.
 */
function paintStroke(context, stroke, from = 0, to = stroke.length) {
  for (let i = from; i < to; i++) {
    const [x, y, width] = stroke[i];
    const [lastX, lastY] = stroke[i - 1] ?? [x - 0.02, y]; // a line of no length is left out
    const [nextX, nextY] = stroke[i + 1] ?? [x, y];
    context.lineWidth = PEN * width;
    context.beginPath();
    context.moveTo((lastX + x) / 2, (lastY + y) / 2);
    context.quadraticCurveTo(x, y, (x + nextX) / 2, (y + nextY) / 2);
    context.stroke();
  }
}

/** @param {Scene} scene */
function paintOver(canvas, { live, ahead, ghost, digits }) {
  const context = penOn(canvas);
  const style = getComputedStyle(canvas);
  context.clearRect(0, 0, SHEET, SHEET);
  const tail = live?.slice(-2) ?? [];
  context.strokeStyle = style.getPropertyValue("--ink");
  paintStroke(context, [...tail, ...ahead], Math.max(tail.length - 1, 0));
  context.strokeStyle = style.getPropertyValue("--faint");
  for (const stroke of ghost) paintStroke(context, stroke);
  context.lineWidth = 2.5;
  context.strokeStyle = context.fillStyle = style.color;
  context.font = `600 ${LABEL}px ${style.fontFamily}`;
  context.textAlign = "center";
  for (const { digit, is_digit, box: [x0, y0, x1, y1] } of digits) {
    context.beginPath();
    context.roundRect(x0 - RIM, y0 - RIM, x1 - x0 + 2 * RIM, y1 - y0 + 2 * RIM, 8);
    context.stroke();
    if (digits.length === 1) return;
    const above = y0 - RIM - 8;
    const baseline = above > LABEL ? above : Math.min(y1 + RIM + LABEL, SHEET - 4);
    context.fillText(is_digit ? String(digit) : "?", (x0 + x1) / 2, baseline);
  }
}

/** The canvas's context with the pen on it, in canvas px. */
function penOn(canvas) {
  const context = canvas.getContext("2d");
  context.setTransform(canvas.width / SHEET, 0, 0, canvas.height / SHEET, 0, 0);
  context.lineCap = context.lineJoin = "round";
  context.strokeStyle = getComputedStyle(canvas).color;
  return context;
}

/** Paints rows of 0 to 255 as that much of the canvas's CSS colour, one canvas pixel each. */
export function paintPixels(canvas, rows) {
  canvas.width = rows[0]?.length ?? 1;
  canvas.height = rows.length; // clears it too
  if (rows.length === 0) return;
  const context = canvas.getContext("2d");
  const image = context.createImageData(canvas.width, canvas.height);
  rows.flat().forEach((value, i) => {
    image.data[4 * i + 3] = value; // alpha
  });
  context.putImageData(image, 0, 0);
  context.globalCompositeOperation = "source-in"; // the colour, where and as far as there is alpha
  context.fillStyle = getComputedStyle(canvas).color;
  context.fillRect(0, 0, canvas.width, canvas.height);
}
