// @ts-check
/**
 * Asks the server to read a drawing. Nothing here knows the page.
 *
 *   POST api/predict  {"strokes": [[[x, y], ...], ...], "image": true}
 *   200               {"digit", "confidence", "is_digit", "probabilities", "number",
 *                      "number_confidence", "digits", "image", ...}
 *   any other         application/problem+json {"title", "status", "detail"}
 *
 * @typedef {import("./geometry.js").Stroke} Stroke
 * @typedef {readonly [x0: number, y0: number, x1: number, y1: number]} Place canvas px
 * @typedef {{digit: number, confidence: number, is_digit: boolean, box: Place}} Digit
 * @typedef {object} Answer the first four are of the drawing as one digit
 * @property {number} digit 0 to 9
 * @property {number} confidence [0, 1]
 * @property {boolean} is_digit
 * @property {number[]} probabilities ten of them, [0, 1]
 * @property {string} number all digits, left to right
 * @property {number} number_confidence [0, 1]
 * @property {Digit[]} digits each of them
 * @property {number[][]} image 28 rows of 28, 0 to 255, 255 = ink
 *
 * @typedef {{kind: "answer", answer: Answer}} Answered
 * @typedef {{kind: "refused", status: number, detail: string}} Refused the problem's own detail
 * @typedef {{kind: "limited", seconds: number | null}} Limited 429; how long to wait, if told
 * @typedef {{kind: "lost", status: number | null}} Lost no answer in time, or nobody behind nginx
 * @typedef {{kind: "garbled"}} Garbled an answer that keeps no contract
 * @typedef {{kind: "dropped"}} Dropped `signal` was aborted
 * @typedef {Answered | Refused | Limited | Lost | Garbled | Dropped} Outcome
 */

import { rounded, simplify } from "./geometry.js";

export const TIMEOUT = 8000; // ms; an answer takes a few, the rest is a slow network
export const SIDE = 28; // px of the network's image
const GONE = new Set([502, 503, 504]); // the gateway answers, the server behind it does not

/**
 * The request's body: a drawing of any length in less than the server's 64 KiB.
 *
 * @param {readonly Stroke[]} strokes canvas px
 */
export function bodyOf(strokes) {
  return JSON.stringify({ strokes: rounded(simplify(strokes)), image: true });
}

/**
 * What came of the question. Never rejects.
 *
 * @param {string | URL} url
 * @param {readonly Stroke[]} strokes canvas px
 * @param {{signal?: AbortSignal, timeout?: number, fetch?: typeof fetch}} [options] timeout in ms
 * @returns {Promise<Outcome>}
 */
export async function ask(url, strokes, { signal, timeout = TIMEOUT, fetch } = {}) {
  // AbortSignal.any() does this in one line, but only since 2024.
  const stop = new AbortController();
  const abort = () => stop.abort();
  const timer = setTimeout(abort, timeout);
  signal?.addEventListener("abort", abort);
  if (signal?.aborted) abort();
  try {
    const response = await (fetch ?? globalThis.fetch)(url, {
      method: "POST",
      headers: { "Content-Type": "application/json", Accept: "application/json" },
      body: bodyOf(strokes),
      signal: stop.signal,
    });
    const text = await response.text();
    return outcomeOf(response.status, text, response.headers.get("Retry-After"));
  } catch {
    return signal?.aborted ? { kind: "dropped" } : { kind: "lost", status: null };
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener("abort", abort);
  }
}

/**
 * @param {number} status
 * @param {string} text the response's body
 * @param {string | null} retryAfter the header
 * @returns {Outcome}
 */
export function outcomeOf(status, text, retryAfter = null) {
  const body = parsed(text);
  if (status === 200) {
    return isAnswer(body) ? { kind: "answer", answer: body } : { kind: "garbled" };
  }
  if (status === 429) {
    const seconds = /^\d+$/.test(retryAfter ?? "") ? Number(retryAfter) : null;
    return { kind: "limited", seconds };
  }
  if (GONE.has(status)) return { kind: "lost", status };
  const { detail, title } = /** @type {Record<string, unknown>} */ (body ?? {});
  const reason = [detail, title].find((words) => typeof words === "string" && words !== "");
  return { kind: "refused", status, detail: String(reason ?? "") };
}

/** @param {string} text */
function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

/**
 * @param {any} body
 * @returns {body is Answer}
 */
function isAnswer(body) {
  return (
    Number.isInteger(body?.digit) &&
    body.digit >= 0 &&
    body.digit <= 9 &&
    isPart(body.confidence, 1) &&
    typeof body.is_digit === "boolean" &&
    /^\d+$/.test(body.number) &&
    isPart(body.number_confidence, 1) &&
    isList(body.digits, body.number.length, isDigit) &&
    isList(body.probabilities, 10, (value) => isPart(value, 1)) &&
    isList(body.image, SIDE, (row) => isList(row, SIDE, (value) => isPart(value, 255)))
  );
}

/** @param {any} value */
function isDigit(value) {
  return (
    Number.isInteger(value?.digit) &&
    typeof value.is_digit === "boolean" &&
    isPart(value.confidence, 1) &&
    isList(value.box, 4, Number.isFinite)
  );
}

/**
 * @param {unknown} list
 * @param {number} length
 * @param {(value: unknown) => boolean} isItem
 */
function isList(list, length, isItem) {
  return Array.isArray(list) && list.length === length && list.every(isItem);
}

/**
 * @param {unknown} value
 * @param {number} most
 */
function isPart(value, most) {
  return typeof value === "number" && value >= 0 && value <= most;
}
