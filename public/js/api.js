// @ts-check
/**
 * Asks the server. Nothing here knows the page.
 *
 *   POST api/predict      {"strokes": [[[x, y], ...], ...], "image": true}
 *     {"digit", "confidence", "is_digit", "probabilities", "number", "number_confidence",
 *      "digits": [{"digit", "confidence", "is_digit", "box", "image": 28 rows of 28}]}
 *   POST api/explain      {"strokes", "digit"}, see inside.js
 *   GET  api/corrections  {"enabled"}
 *   POST api/corrections  {"strokes", "label": "7", "" for no digit}
 *   any other answer      application/problem+json {"title", "status", "detail"}
 *
 * @typedef {{kind: "refused", detail: string} | {kind: "limited", seconds: number}
 *   | {kind: "failing" | "offline" | "lost" | "late" | "garbled"}} Trouble 4xx; 429; 5xx; no network;
 *   nobody answers; not in time; an answer that keeps no contract
 * @typedef {{kind: "answer", answer: any} | {kind: "dropped"} | Trouble} Outcome dropped: aborted
 */

import { toSend } from "./geometry.js";

export const TIMEOUT = 10_000; // ms; an answer takes a few, the rest is a slow network

/** The question what the strokes are. */
export function question(strokes) {
  return { strokes: toSend(strokes), image: true };
}

/** Whether it is what api/predict promises. */
export function isAnswer(body) {
  return body?.probabilities?.length === 10 && body.digits?.[0]?.image?.length > 0;
}

/** Whether anything in the drawing is taken for a digit. */
export function hasDigit(answer) {
  return answer?.digits.some((digit) => digit.is_digit) ?? false;
}

/**
 * What came of a question. Never rejects.
 *
 * @param {string | URL} url
 * @param {object | null} body null asks by GET
 * @param {(answer: any) => boolean} isWanted
 * @returns {Promise<Outcome>}
 */
export async function ask(url, body, isWanted, { signal, timeout = TIMEOUT, fetch } = {}) {
  const late = AbortSignal.timeout(timeout);
  try {
    const response = await (fetch ?? globalThis.fetch)(url, {
      method: body === null ? "GET" : "POST",
      headers: { Accept: "application/json", ...(body && { "Content-Type": "application/json" }) },
      body: body && JSON.stringify(body),
      signal: signal ? AbortSignal.any([signal, late]) : late,
    });
    const answer = parsed(await response.text());
    if (!response.ok) return troubleOf(response.status, answer, response.headers.get("Retry-After"));
    return isWanted(answer) ? { kind: "answer", answer } : { kind: "garbled" };
  } catch {
    if (signal?.aborted) return { kind: "dropped" };
    if (late.aborted) return { kind: "late" };
    return { kind: globalThis.navigator?.onLine === false ? "offline" : "lost" };
  }
}

/** @returns {Trouble} */
export function troubleOf(status, body, retryAfter) {
  if (status === 429) {
    return { kind: "limited", seconds: /^\d{1,4}$/.test(retryAfter) ? Number(retryAfter) : 2 };
  }
  if (status >= 500) return { kind: "failing" };
  const said = [body?.detail, body?.title].find((words) => typeof words === "string" && words);
  return { kind: "refused", detail: said ?? `${status}` };
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
