import assert from "node:assert/strict";
import { test } from "node:test";

import {
  TEXTS,
  answerText,
  fill,
  languageOf,
  percent,
  troubleText,
} from "../../public/js/texts.js";

const { en, de } = TEXTS;

/** The texts of a language by their paths, as ["inside.boxed.0", text]. */
const paths = (value, path = "") =>
  typeof value === "object"
    ? Object.entries(value).flatMap(([key, each]) => paths(each, `${path}.${key}`))
    : [[path, value]];

test("every language has every text, with the same names to fill in", () => {
  const names = (text) => (String(text).match(/\{\w+\}/g) ?? []).sort();
  const english = paths(en);
  const german = new Map(paths(de));
  assert.deepEqual([...german.keys()], english.map(([path]) => path));
  for (const [path, text] of english) assert.deepEqual(names(german.get(path)), names(text), path);
});

test("no text of a language is left in another", () => {
  const same = paths(en).filter(([path, text]) => text && new Map(paths(de)).get(path) === text);
  assert.deepEqual(same.map(([path]) => path).filter((path) => path !== ".dir"), []);
});

test("the first wanted language that the page speaks is spoken, else English", () => {
  assert.equal(languageOf(["fr", "de-AT", "en"]), "de");
  assert.equal(languageOf([null, "EN-gb", "de"]), "en");
  assert.equal(languageOf(["fr", "constructor"]), "en");
  assert.equal(languageOf([]), "en");
});

test("names in a text are filled in", () => {
  assert.equal(fill("{i} of {n}", { i: 0, n: 24 }), "0 of 24");
});

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
  const text = (digit, confidence, texts = en) =>
    answerText(texts, { digit, confidence, digits: [{ digit, is_digit: true }] });
  assert.deepEqual(text(7, 0.98), ["That’s a 7.", "98% sure"]);
  assert.deepEqual(text(7, 0.9), ["That’s a 7.", "90% sure"]);
  assert.equal(text(7, 0.999)[1], "more than 99% sure");
  assert.deepEqual(text(8, 0.7), ["Looks like an 8.", "70% sure"]);
  assert.deepEqual(text(0, 0.4), ["Perhaps a 0?", "only 40% sure"]);
  assert.deepEqual(text(7, 0.98, de), ["Das ist eine 7.", "zu 98\u00a0% sicher"]);
});

test("what is no digit is told so, with the best guess", () => {
  const text = (digit, confidence) =>
    answerText(en, { digit, confidence, digits: [{ digit, is_digit: false }] });
  const title = "That doesn’t look like a digit.";
  assert.deepEqual(text(8, 0.12), [title, "My best guess would be an 8: 12% sure."]);
  assert.equal(text(8, 0.001)[1], "My best guess would be an 8: less than 1% sure.");
});

test("a number is told as a whole, with a question mark for what is no digit", () => {
  const text = (number, number_confidence, unread = "") => {
    const digits = [...number].map((digit) => ({ digit, is_digit: !unread.includes(digit) }));
    return answerText(en, { number, number_confidence, digits, digit: 0 });
  };
  assert.deepEqual(text("2026", 0.97), ["That’s 2026.", "97% sure"]);
  assert.equal(text("20", 0.7)[0], "Looks like 20.");
  assert.deepEqual(text("20", 0.2), ["Perhaps 20?", "only 20% sure"]);
  assert.deepEqual(text("037", 0.001, "0"), ["Perhaps ?37?", "less than 1% sure"]);
  assert.deepEqual(text("03", 0.001, "03"), [
    "That doesn’t look like a digit.",
    "My best guess would be 03: less than 1% sure.",
  ]);
});

test("a refusal is shown as a sentence", () => {
  const detail = (words) => troubleText(en, { kind: "refused", detail: words })[1];
  assert.equal(detail("strokes expected a line"), "Strokes expected a line.");
  assert.equal(detail("Is it? Yes!"), "Is it? Yes!");
  assert.equal(detail("422"), "422.");
});

test("every trouble has words of its own", () => {
  const kinds = ["offline", "lost", "late", "failing", "garbled"].map((kind) => ({ kind }));
  for (const texts of [en, de]) {
    const said = [...kinds, { kind: "limited", seconds: 3 }, { kind: "refused", detail: "x" }].map(
      (trouble) => troubleText(texts, trouble),
    );
    assert.equal(new Set(said.map(([title]) => title)).size, said.length);
    for (const [, detail] of said) assert.match(detail, /\.$/);
  }
  assert.match(troubleText(en, { kind: "limited", seconds: 30 })[1], /in 30 s/);
});
