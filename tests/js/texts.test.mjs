import assert from "node:assert/strict";
import { test } from "node:test";

import { answerText, percent, problemText } from "../../public/js/texts.js";

test("a percentage is whole and never claims certainty", () => {
  assert.equal(percent(1), ">99");
  assert.equal(percent(0.995), ">99");
  assert.equal(percent(0.9949), "99");
  assert.equal(percent(0.874), "87");
  assert.equal(percent(0.005), "1");
  assert.equal(percent(0.0049), "<1");
  assert.equal(percent(0), "<1");
});

test("the words of an answer follow its confidence", () => {
  const text = (digit, confidence) =>
    answerText({ digit, confidence, is_digit: true, digits: [{ digit }] });
  assert.deepEqual(text(7, 0.98), { title: "That’s a 7.", detail: "98% sure" });
  assert.equal(text(7, 0.999).detail, "more than 99% sure");
  assert.deepEqual(text(8, 0.7), { title: "Looks like an 8.", detail: "70% sure" });
  assert.deepEqual(text(0, 0.4), { title: "Perhaps a 0?", detail: "only 40% sure" });
});

test("what is no digit is told so, with the best guess", () => {
  const text = (digit, confidence) =>
    answerText({ digit, confidence, is_digit: false, digits: [{ digit }] });
  assert.deepEqual(text(8, 0.12), { title: "That’s no digit.", detail: "Most like an 8, 12% sure" });
  assert.equal(text(8, 0.001).detail, "Most like an 8, less than 1% sure");
});

test("a number is told as a whole", () => {
  const text = (number, number_confidence) =>
    answerText({ number, number_confidence, digits: [...number], digit: 0, is_digit: false });
  assert.deepEqual(text("2026", 0.97), { title: "That’s 2026.", detail: "97% sure" });
  assert.equal(text("20", 0.7).title, "Looks like 20.");
  assert.deepEqual(text("20", 0.2), { title: "Perhaps 20?", detail: "only 20% sure" });
});

test("a refusal is shown as a sentence, or by its number where it has no words", () => {
  const detail = (words) => problemText({ kind: "refused", status: 422, detail: words }).detail;
  assert.equal(detail("strokes expected a line"), "Strokes expected a line.");
  assert.equal(detail("Is it? Yes!"), "Is it? Yes!");
  assert.equal(detail(""), "It answered with error 422.");
});

test("a limit tells how long to wait", () => {
  const detail = (seconds) => problemText({ kind: "limited", seconds }).detail;
  assert.match(detail(null), /Wait a moment,/);
  assert.match(detail(1), /Wait a second,/);
  assert.match(detail(30), /Wait 30 seconds,/);
});

test("a lost server is told apart from one that may be restarting", () => {
  assert.match(problemText({ kind: "lost", status: null }).detail, /Check your connection/);
  assert.match(problemText({ kind: "lost", status: 503 }).detail, /may be restarting/);
  assert.match(problemText({ kind: "garbled" }).title, /makes no sense/);
});
