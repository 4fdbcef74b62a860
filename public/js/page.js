// @ts-check
/**
 * The page: finds its elements, holds its state and ties pen, sheet and server together. The only
 * file that queries the DOM.
 *
 * @typedef {import("./api.js").Answer} Answer
 * @typedef {import("./geometry.js").Point} Point
 * @typedef {import("./geometry.js").Stroke} Stroke
 * @typedef {import("./texts.js").Text} Text
 * @typedef {"empty" | "drawing" | "reading" | "answer" | "problem" | "outdated"} State
 *   "outdated": the drawing has grown since the answer or problem that is shown
 */

import { ask } from "./api.js";
import { extend, isDot } from "./geometry.js";
import { DIGITS, QUESTION } from "./glyphs.js";
import { usePen } from "./pen.js";
import { paintDigits, paintInk, paintPixels, useSheet } from "./sheet.js";
import { DOT, EMPTY, READING, START, answerText, percent, problemText } from "./texts.js";

const PREDICT_URL = new URL("api/predict", document.baseURI); // right under a path prefix too
const READING_DELAY = 250; // ms; a quick answer comes without "Reading" flashing by

startPage();

/** @returns {() => void} teardown */
function startPage() {
  const book = find("main", HTMLElement);
  const ink = find("#ink", HTMLCanvasElement);
  const seen = find("#seen", HTMLCanvasElement);
  const guide = find(".guide path", SVGPathElement);
  const mark = find(".mark path", SVGPathElement);
  const verdict = find("#verdict", HTMLElement);
  const detail = find("#detail", HTMLElement);
  const bars = [...find("#bars", HTMLElement).children];
  const predictButton = find("#predict", HTMLButtonElement);
  const clearButton = find("#clear", HTMLButtonElement);

  /** @type {readonly Stroke[]} */
  let strokes = []; // finished, canvas px
  /** @type {Point[] | null} */
  let live = null; // the stroke being drawn
  /** @type {Answer | null} */
  let answer = null; // the one shown
  /** @type {AbortController | null} */
  let question = null; // the one in flight
  let settled = START; // what to say again when a question is dropped
  let example = 2; // the digit dotted on the empty sheet
  let frame = 0; // of requestAnimationFrame, 0 = none asked for

  function repaint() {
    if (frame === 0) frame = requestAnimationFrame(paint);
  }

  function paint() {
    frame = 0;
    paintInk(ink, live === null ? strokes : [...strokes, live]);
    if (isNumber(answer) && book.dataset.state === "answer") paintDigits(ink, answer.digits);
    paintPixels(seen, answer?.image ?? null);
  }

  /**
   * @param {State} state
   * @param {Text} text
   */
  function show(state, text) {
    book.dataset.state = state;
    verdict.textContent = text.title;
    detail.textContent = text.detail;
    detail.classList.toggle("sure", answer !== null);
  }

  /** @param {Answer | null} next */
  function showAnswer(next) {
    answer = next;
    const single = next !== null && next.is_digit && !isNumber(next);
    mark.setAttribute("d", single ? DIGITS[next.digit] : QUESTION);
    mark.classList.toggle("many", isNumber(next));
    mark.classList.toggle("waiting", settled === START);
    const probabilities = isNumber(next) ? null : next?.probabilities;
    bars.forEach((bar, digit) => {
      const share = probabilities?.[digit] ?? 0;
      const [, column, value] = bar.children;
      /** @type {HTMLElement} */ (column).style.setProperty("--share", share.toFixed(4));
      value.textContent = probabilities ? percent(share) : "";
      bar.classList.toggle("best", single && digit === next.digit);
      bar.classList.toggle("unlikely", share < 0.01);
    });
    repaint();
  }

  function dropQuestion() {
    question?.abort();
    question = null;
  }

  async function predict() {
    if (question !== null) return; // never two in flight, and the drawing has not changed
    if (live !== null) return; // Enter, or a second finger, before the stroke is done
    if (strokes.length === 0) {
      show("empty", EMPTY);
      return;
    }
    if (isDot(strokes)) {
      settle("problem", DOT, null);
      return;
    }
    const own = new AbortController();
    question = own;
    const slow = setTimeout(() => {
      if (question === own) show("reading", READING);
    }, READING_DELAY);
    const outcome = await ask(PREDICT_URL, strokes, { signal: own.signal });
    clearTimeout(slow);
    if (question !== own || outcome.kind === "dropped") return; // stale: drawn on, or cleared
    question = null;
    if (outcome.kind === "answer") settle("answer", answerText(outcome.answer), outcome.answer);
    else settle("problem", problemText(outcome), null);
  }

  /**
   * Say how a question ended, or that none was asked.
   *
   * @param {"answer" | "problem" | "empty"} state
   * @param {Text} text
   * @param {Answer | null} next
   */
  function settle(state, text, next) {
    settled = text;
    showAnswer(next);
    show(state, text);
  }

  function clear() {
    dropQuestion();
    if (strokes.length > 0) example = (example + 1) % DIGITS.length;
    strokes = [];
    live = null;
    guide.setAttribute("d", DIGITS[example]);
    settle("empty", START, null);
  }

  /** @param {Point} point */
  function startStroke(point) {
    dropQuestion();
    // Away from the button used last, so that Enter asks and does not press that one again. A mouse
    // does so by itself, a finger does not.
    ink.focus({ preventScroll: true });
    live = [point];
    show(settled === START ? "drawing" : "outdated", settled);
    repaint();
  }

  /** @param {Point[]} points */
  function moveStroke(points) {
    if (live === null) return; // cleared in the middle of it
    extend(live, points);
    repaint();
  }

  function endStroke() {
    if (live === null) return;
    strokes = [...strokes, live];
    live = null;
  }

  /** @param {KeyboardEvent} event */
  function key(event) {
    if (event.repeat || event.ctrlKey || event.altKey || event.metaKey) return;
    const onControl = event.target instanceof Element && event.target.closest("a, button") !== null;
    if (event.key === "Enter" && !onControl) predict();
    else if (event.key === "Delete" || event.key === "Escape") clear();
  }

  const teardown = new AbortController();
  const { signal } = teardown;
  const stopSheet = useSheet(ink, paint);
  const stopPen = usePen(ink, { onStart: startStroke, onMove: moveStroke, onEnd: endStroke });
  predictButton.addEventListener("click", predict, { signal });
  clearButton.addEventListener("click", clear, { signal });
  document.addEventListener("keydown", key, { signal });
  clear();
  return () => {
    dropQuestion();
    teardown.abort();
    stopPen();
    stopSheet();
    cancelAnimationFrame(frame);
  };
}

/**
 * Whether there are several digits; the probabilities are then of none of them.
 *
 * @param {Answer | null} answer
 * @returns {answer is Answer}
 */
function isNumber(answer) {
  return answer !== null && answer.digits.length > 1;
}

/**
 * The page's element that the selector names.
 *
 * @template {Element} T
 * @param {string} selector
 * @param {new () => T} type
 * @returns {T}
 */
function find(selector, type) {
  const element = document.querySelector(selector);
  if (element instanceof type) return element;
  throw new TypeError(`page expected ${selector} to be a ${type.name}, got ${element}`);
}
