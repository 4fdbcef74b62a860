// @ts-check
/**
 * Everything that the page says after it has loaded.
 *
 * @typedef {import("./api.js").Answer} Answer
 * @typedef {import("./api.js").Outcome} Outcome
 * @typedef {{title: string, detail: string}} Text
 */

const SURE = 0.9; // at least: a plain statement
const LIKELY = 0.6; // at least: "looks like"; below it a guess

/** @type {Text} */
export const START = {
  title: "Your turn.",
  detail: "Draw a digit or a whole number, then press Predict.",
};

/** @type {Text} */
export const EMPTY = {
  title: "The sheet is empty.",
  detail: "Draw a digit on it first, then press Predict.",
};

/** @type {Text} */
export const DOT = {
  title: "That’s only a dot.",
  detail: "Draw a whole digit, then press Predict.",
};

/** @type {Text} */
export const READING = { title: "Reading …", detail: "" };

/**
 * The answer in words and figures.
 *
 * @param {Answer} answer
 * @returns {Text}
 */
export function answerText({ digit, confidence, is_digit, number, number_confidence, digits }) {
  if (digits.length > 1) return sureText(number, number_confidence);
  const named = `${article(digit)} ${digit}`;
  if (is_digit) return sureText(named, confidence);
  const chance = percent(confidence).replace("<", "less than ");
  return { title: "That’s no digit.", detail: `Most like ${named}, ${chance}% sure` };
}

/**
 * @param {string} what
 * @param {number} confidence [0, 1]
 * @returns {Text}
 */
function sureText(what, confidence) {
  const detail = `${percent(confidence).replace(">", "more than ").replace("<", "less than ")}% sure`;
  if (confidence >= SURE) return { title: `That’s ${what}.`, detail };
  if (confidence >= LIKELY) return { title: `Looks like ${what}.`, detail };
  return { title: `Perhaps ${what}?`, detail: `only ${detail}` };
}

/**
 * What went wrong, and what to do.
 *
 * @param {Exclude<Outcome, {kind: "answer"} | {kind: "dropped"}>} outcome
 * @returns {Text}
 */
export function problemText(outcome) {
  switch (outcome.kind) {
    case "limited":
      return {
        title: "A moment, please.",
        detail: `Many drawings came at once. Wait ${wait(outcome.seconds)}, then press Predict.`,
      };
    case "lost":
      return {
        title: "No answer from the server.",
        detail:
          outcome.status === null
            ? "Check your connection, then press Predict again."
            : "It may be restarting. Press Predict again in a moment.",
      };
    case "garbled":
      return {
        title: "That answer makes no sense.",
        detail: "The server sent something this page can’t read. Reload the page and try again.",
      };
    case "refused":
      return {
        title: "The server can’t read this.",
        detail: sentence(outcome.detail) ?? `It answered with error ${outcome.status}.`,
      };
  }
}

/**
 * A share as a whole percentage that never claims certainty: "87", ">99", "<1".
 *
 * @param {number} share [0, 1]
 */
export function percent(share) {
  if (share >= 0.995) return ">99";
  if (share < 0.005) return "<1";
  return String(Math.round(100 * share));
}

/**
 * The words with a capital and a full stop, as beside the page's own; null if there are none.
 *
 * @param {string} words
 */
function sentence(words) {
  if (words === "") return null;
  const capital = words[0].toUpperCase() + words.slice(1);
  return /[.!?)]$/.test(capital) ? capital : `${capital}.`;
}

/** @param {number} digit */
function article(digit) {
  return digit === 8 ? "an" : "a";
}

/** @param {number | null} seconds */
function wait(seconds) {
  if (seconds === null) return "a moment";
  return seconds === 1 ? "a second" : `${seconds} seconds`;
}
