// @ts-check
/**
 * A mouse, finger or pen on an element, by Pointer Events. One pointer draws at a time: a second
 * finger or a resting palm is ignored until the first lifts.
 *
 * @typedef {import("./geometry.js").Point} Point
 */

import { toSheet } from "./geometry.js";

const MAIN_BUTTON = 0; // left button, finger, pen's tip
const MAIN_PRESSED = 1; // the bit of the main button in `buttons`

/**
 * Calls back for every stroke drawn on the element, which needs `touch-action: none`.
 *
 * @param {HTMLElement} surface
 * @param {object} pen
 * @param {(point: Point) => void} pen.onStart
 * @param {(points: Point[]) => void} pen.onMove
 * @param {() => void} pen.onEnd
 * @returns {() => void} teardown
 */
export function usePen(surface, { onStart, onMove, onEnd }) {
  const teardown = new AbortController();
  /** @type {number | null} */
  let active = null; // pointerId of the one that draws

  /** @param {PointerEvent} event */
  function down(event) {
    if (active !== null || event.button !== MAIN_BUTTON) return;
    surface.setPointerCapture(event.pointerId);
    active = event.pointerId;
    onStart(points([event])[0]);
  }

  /** @param {PointerEvent} event */
  function move(event) {
    if (event.pointerId !== active) return;
    // A button let go where no event could tell, as over a dialogue of the browser.
    if ((event.buttons & MAIN_PRESSED) === 0) return end(event);
    // Missing on plain http (it wants a secure context), empty in older Safari.
    const coalesced = event.getCoalescedEvents?.() ?? [];
    onMove(points(coalesced.length > 0 ? coalesced : [event]));
  }

  /** @param {PointerEvent} event */
  function end(event) {
    if (event.pointerId !== active) return;
    active = null;
    onEnd();
  }

  /** @param {PointerEvent[]} events */
  function points(events) {
    // Asked anew every time: the page may scroll or zoom in the middle of a stroke.
    const box = surface.getBoundingClientRect();
    return events.map(({ clientX, clientY }) => toSheet(clientX, clientY, box));
  }

  /** @param {Event} event */
  function prevent(event) {
    event.preventDefault();
  }

  const { signal } = teardown;
  surface.addEventListener("pointerdown", down, { signal });
  surface.addEventListener("pointermove", move, { signal });
  surface.addEventListener("pointerup", end, { signal });
  surface.addEventListener("pointercancel", end, { signal });
  surface.addEventListener("lostpointercapture", end, { signal });
  // No menu under a finger that rests.
  surface.addEventListener("contextmenu", prevent, { signal });
  return () => teardown.abort();
}
