// @ts-check
/** Draws a digit by itself, stroke by stroke, as a pen does. */

import { SHEET } from "./geometry.js";
import { DIGITS, VIEW, pathAlong } from "./glyphs.js";

const SCALE = (0.6 * SHEET) / VIEW.height; // canvas px to a unit of the glyph
const STEP = 2; // units of the glyph, from point to point
const SPEED = 0.5; // canvas px a ms

/** A digit's strokes, in the middle of the sheet. */
export function sampleOf(digit) {
  const place = (at, side) => SHEET / 2 + (at - side / 2) * SCALE;
  return DIGITS[digit].split(/(?=M)/).map((line) => {
    const path = pathAlong(line);
    const length = path.getTotalLength();
    const count = Math.ceil(length / STEP);
    return Array.from({ length: count + 1 }, (_, i) => {
      const { x, y } = path.getPointAtLength((i / count) * length);
      return [place(x, VIEW.width), place(y, VIEW.height), 1];
    });
  });
}

/** Draws strokes over time, or at once where motion is to be reduced. Returns what stops it. */
export function play(strokes, { onStart, onMove, onEnd }) {
  const isAtOnce = matchMedia("(prefers-reduced-motion: reduce)").matches;
  let [frame, stroke, next, last] = [0, 0, 0, performance.now()];

  function step(now) {
    const points = strokes[stroke];
    if (next === 0) onStart(points[next++]);
    const time = Math.max(now - last, 0); // a frame may begin before the call
    const more = isAtOnce ? points.length : (time * SPEED) / SCALE / STEP;
    const to = Math.min(next + more, points.length);
    last = now;
    onMove(points.slice(Math.ceil(next), Math.ceil(to)), []);
    next = to;
    if (next >= points.length) {
      onEnd();
      [stroke, next] = [stroke + 1, 0];
    }
    if (stroke === strokes.length) return;
    if (isAtOnce) step(now);
    else frame = requestAnimationFrame(step);
  }

  step(last);
  return () => cancelAnimationFrame(frame);
}
