// @ts-check
/**
 * Mouse, finger and stylus, by Pointer Events.
 *
 * @typedef {import("./geometry.js").Point} Point
 * @typedef {{onStart: (point: Point) => void, onMove: (points: Point[], ahead: Point[]) => void,
 *   onEnd: () => void, onDrop: () => void}} Pen `ahead`: where it will be, perhaps; onDrop: no stroke
 */

import { nextWidth, toSheet } from "./geometry.js";

const PALM = 64; // CSS px, the least that touches when a palm rests
const PEN_AWAY = 1500; // ms since the pen was seen; a touch sooner than that is the hand that holds it

/**
 * Draws on an element, which needs `touch-action: none`. One pointer at a time: a second finger or
 * a palm is ignored, and a pen takes over from the palm that came down before it.
 *
 * @param {HTMLElement} surface
 * @param {Pen} pen
 * @returns {() => void} teardown
 */
export function usePointer(surface, { onStart, onMove, onEnd, onDrop }) {
  const teardown = new AbortController();
  let active = null; // the first event of the pointer that draws
  let penSeen = -Infinity; // ms, when
  let last = { x: 0, y: 0, time: 0, width: 1 }; // canvas px, ms and pens, of the last point

  function down(event) {
    see(event);
    if (event.button !== 0 || isPalm(event)) return; // 0: left button, finger, pen's tip
    if (active !== null) {
      if (event.pointerType !== "pen" || active.pointerType !== "touch") return;
      onDrop();
    }
    surface.setPointerCapture(event.pointerId);
    active = event;
    const [x, y] = toSheet(event.clientX, event.clientY, surface.getBoundingClientRect());
    const width = event.pointerType === "pen" ? 0.45 + event.pressure : 1;
    last = { x, y, time: event.timeStamp, width };
    onStart([x, y, width]);
  }

  function move(event) {
    see(event);
    if (event.pointerId !== active?.pointerId) return;
    // A button let go where no event could tell, as over a dialogue of the browser.
    if ((event.buttons & 1) === 0) return end(event);
    // Missing on plain http (it wants a secure context), empty in older Safari.
    const coalesced = event.getCoalescedEvents?.() ?? [];
    // Asked anew every time: the page may scroll or zoom in the middle of a stroke.
    const box = surface.getBoundingClientRect();
    const points = (coalesced.length > 0 ? coalesced : [event]).map((each) => pointOf(each, box));
    const ahead = event.getPredictedEvents?.() ?? [];
    onMove(points, ahead.map((each) => [...toSheet(each.clientX, each.clientY, box), last.width]));
  }

  function end(event) {
    see(event);
    if (event.pointerId !== active?.pointerId) return;
    active = null;
    event.type === "pointercancel" ? onDrop() : onEnd(); // the system found it to be a palm
  }

  function pointOf({ clientX, clientY, pointerType, pressure, timeStamp }, box) {
    const [x, y] = toSheet(clientX, clientY, box);
    const speed = Math.hypot(x - last.x, y - last.y) / Math.max(timeStamp - last.time, 1);
    const width = nextWidth(last.width, pointerType === "pen" ? pressure : null, speed);
    last = { x, y, time: timeStamp, width };
    return [x, y, width];
  }

  function see({ pointerType, timeStamp }) {
    if (pointerType === "pen") penSeen = timeStamp;
  }

  function isPalm({ pointerType, timeStamp, width, height }) {
    if (pointerType !== "touch") return false;
    return timeStamp - penSeen < PEN_AWAY || Math.max(width, height) > PALM;
  }

  const handlers = {
    pointerdown: down,
    pointermove: move,
    pointerup: end,
    pointercancel: end,
    lostpointercapture: end,
    contextmenu: (event) => event.preventDefault(), // no menu under a finger that rests
  };
  for (const [type, handler] of Object.entries(handlers)) {
    surface.addEventListener(type, handler, { signal: teardown.signal });
  }
  return () => teardown.abort();
}
