// @ts-check
/**
 * Canvases: the sheet's ink, crisp at any size and density, and the network's 28x28 image.
 *
 * @typedef {import("./api.js").Digit} Digit
 * @typedef {import("./geometry.js").Stroke} Stroke
 */

import { PEN, SHEET, pathOf } from "./geometry.js";

const LABEL = 26; // canvas px, the height of what a digit was read as

/**
 * Keeps the canvas's pixels those of the screen, and calls `paint` after each change of size,
 * density (browser zoom, another screen) or colour scheme: each of them leaves the canvas blank or
 * in the wrong colour.
 *
 * @param {HTMLCanvasElement} canvas
 * @param {() => void} paint paints at once: a frame later a resized canvas would have flickered
 * @returns {() => void} teardown
 */
export function useSheet(canvas, paint) {
  const teardown = new AbortController();
  const { signal } = teardown;

  const observer = new ResizeObserver(([entry]) => {
    const box = canvas.getBoundingClientRect();
    const { inlineSize, blockSize } = entry.devicePixelContentBoxSize?.[0] ?? {};
    const width = pixels(box.width, inlineSize);
    const height = pixels(box.height, blockSize);
    if (canvas.width !== width) canvas.width = width;
    if (canvas.height !== height) canvas.height = height;
    paint();
  });

  // Observing anew makes the observer call back, whether or not the size in CSS px has changed.
  function observe() {
    observer.disconnect();
    try {
      observer.observe(canvas, { box: "device-pixel-content-box" });
    } catch {
      observer.observe(canvas); // Safari
    }
  }

  function watchDensity() {
    // A query for one density changes once; the next density needs a query of its own.
    const query = matchMedia(`(resolution: ${devicePixelRatio}dppx)`);
    const changed = () => {
      observe();
      watchDensity();
    };
    query.addEventListener("change", changed, { signal, once: true });
  }

  observe();
  watchDensity();
  for (const query of ["(prefers-color-scheme: dark)", "(forced-colors: active)"]) {
    matchMedia(query).addEventListener("change", paint, { signal });
  }
  return () => {
    teardown.abort();
    observer.disconnect();
  };
}

/**
 * The screen's pixels along a side.
 *
 * @param {number} side CSS px
 * @param {number} [exact] what the observer says. Safari says nothing; under an emulated density,
 *   as in the developer tools, Chromium says the pixels of the real one.
 */
function pixels(side, exact) {
  const product = side * devicePixelRatio;
  return exact !== undefined && Math.abs(exact - product) < 1 ? exact : Math.round(product);
}

/**
 * Paints the strokes in the canvas's CSS colour.
 *
 * @param {HTMLCanvasElement} canvas
 * @param {readonly Stroke[]} strokes canvas px
 */
export function paintInk(canvas, strokes) {
  const context = contextOf(canvas);
  context.setTransform(1, 0, 0, 1, 0, 0);
  context.clearRect(0, 0, canvas.width, canvas.height);
  useSheetPixels(canvas);
  context.lineWidth = PEN;
  context.lineCap = "round";
  context.lineJoin = "round";
  context.strokeStyle = getComputedStyle(canvas).color;
  for (const stroke of strokes) context.stroke(new Path2D(pathOf(stroke)));
}

/**
 * Paints a box around each digit of a number, and what it was read as above it.
 *
 * @param {HTMLCanvasElement} canvas
 * @param {readonly Digit[]} digits
 */
export function paintDigits(canvas, digits) {
  const context = useSheetPixels(canvas);
  const style = getComputedStyle(canvas);
  context.lineWidth = 2;
  context.strokeStyle = context.fillStyle = style.getPropertyValue("--red");
  context.font = `${LABEL}px ${style.fontFamily}`;
  context.textAlign = "center";
  for (const { digit, is_digit, box } of digits) {
    const [x0, y0, x1, y1] = box;
    const rim = PEN / 2 + 3;
    context.strokeRect(x0 - rim, y0 - rim, x1 - x0 + 2 * rim, y1 - y0 + 2 * rim);
    const above = y0 - rim - 6;
    const baseline = above > LABEL ? above : Math.min(y1 + rim + LABEL, SHEET - 4);
    context.fillText(is_digit ? String(digit) : "?", (x0 + x1) / 2, baseline);
  }
}

/**
 * Paints rows of 0 to 255 as that much of the canvas's CSS colour, one canvas pixel each.
 *
 * @param {HTMLCanvasElement} canvas
 * @param {number[][] | null} rows null paints nothing
 */
export function paintPixels(canvas, rows) {
  const context = contextOf(canvas);
  context.globalCompositeOperation = "source-over";
  context.clearRect(0, 0, canvas.width, canvas.height);
  if (rows === null) return;
  const image = context.createImageData(canvas.width, canvas.height);
  rows.flat().forEach((value, i) => {
    image.data[4 * i + 3] = value; // alpha
  });
  context.putImageData(image, 0, 0);
  context.globalCompositeOperation = "source-in"; // the colour, where and as far as there is alpha
  context.fillStyle = getComputedStyle(canvas).color;
  context.fillRect(0, 0, canvas.width, canvas.height);
}

/**
 * The canvas's context, in canvas px.
 *
 * @param {HTMLCanvasElement} canvas
 */
function useSheetPixels(canvas) {
  const context = contextOf(canvas);
  context.setTransform(canvas.width / SHEET, 0, 0, canvas.height / SHEET, 0, 0);
  return context;
}

/** @param {HTMLCanvasElement} canvas */
function contextOf(canvas) {
  return /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
}
