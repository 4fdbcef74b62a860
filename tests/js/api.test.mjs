import assert from "node:assert/strict";
import { test } from "node:test";

import { ask, bodyOf, outcomeOf } from "../../public/js/api.js";

const MAX_BODY = 64 * 1024; // bytes, the server's limit
const STROKES = [[[1, 2], [3, 4]]];
const IMAGE = Array.from({ length: 28 }, () => Array.from({ length: 28 }, () => 0));
const ANSWER = {
  digit: 7,
  confidence: 0.9,
  is_digit: true,
  number: "7",
  number_confidence: 0.8,
  digits: [{ digit: 7, confidence: 0.9, is_digit: true, box: [1, 2, 3, 4] }],
  probabilities: [0, 0, 0, 0.1, 0, 0, 0, 0.9, 0, 0],
  image: IMAGE,
};

const reply = (status, body, headers = {}) => async () => new Response(body, { status, headers });
const hang = (_, { signal }) =>
  new Promise((_, reject) => {
    signal.addEventListener("abort", () => reject(signal.reason));
    if (signal.aborted) reject(signal.reason);
  });

test("the body holds rounded strokes and asks for the image", () => {
  assert.deepEqual(JSON.parse(bodyOf([[[1.26, 2], [3, 4]]])), {
    strokes: [[[1.3, 2], [3, 4]]],
    image: true,
  });
});

test("the longest drawing stays under the server's limit", () => {
  const long = Array.from({ length: 100_000 }, (_, i) => [(i * 77.7) % 500, (i * 33.3) % 500]);
  const dots = Array.from({ length: 30_000 }, (_, i) => [[(i * 77.7) % 500, (i * 33.3) % 500]]);
  assert.ok(bodyOf([long]).length < MAX_BODY);
  assert.ok(bodyOf(dots).length < MAX_BODY);
});

test("a question is a POST of JSON and its answer is handed on", async () => {
  let seen;
  const fetch = async (url, options) => {
    seen = { url, ...options };
    return new Response(JSON.stringify(ANSWER));
  };
  const outcome = await ask("api/predict", STROKES, { fetch });
  assert.deepEqual(outcome, { kind: "answer", answer: ANSWER });
  assert.equal(seen.url, "api/predict");
  assert.equal(seen.method, "POST");
  assert.equal(seen.headers["Content-Type"], "application/json");
  assert.equal(seen.body, bodyOf(STROKES));
});

test("a question without a connection is lost", async () => {
  const fetch = async () => {
    throw new TypeError("Failed to fetch");
  };
  assert.deepEqual(await ask("u", STROKES, { fetch }), { kind: "lost", status: null });
});

test("a question without an answer in time is lost", async () => {
  const outcome = await ask("u", STROKES, { fetch: hang, timeout: 10 });
  assert.deepEqual(outcome, { kind: "lost", status: null });
});

test("an aborted question is dropped, before and after it is asked", async () => {
  const stop = new AbortController();
  const pending = ask("u", STROKES, { fetch: hang, signal: stop.signal });
  stop.abort();
  assert.deepEqual(await pending, { kind: "dropped" });
  assert.deepEqual(await ask("u", STROKES, { fetch: hang, signal: stop.signal }), {
    kind: "dropped",
  });
});

test("too many questions: the seconds to wait, where they are told", async () => {
  const fetch = reply(429, "{}", { "Retry-After": "12" });
  assert.deepEqual(await ask("u", STROKES, { fetch }), { kind: "limited", seconds: 12 });
  assert.deepEqual(outcomeOf(429, "", "soon"), { kind: "limited", seconds: null });
  assert.deepEqual(outcomeOf(429, "", null), { kind: "limited", seconds: null });
});

test("a gateway without its server is a lost server", () => {
  for (const status of [502, 503, 504]) {
    assert.deepEqual(outcomeOf(status, "<html>"), { kind: "lost", status });
  }
});

test("a problem is refused with its detail, else its title, else nothing", () => {
  const kind = "refused";
  const status = 422;
  const both = JSON.stringify({ title: "Unprocessable", detail: "strokes expected a line" });
  assert.deepEqual(outcomeOf(422, both), { kind, status, detail: "strokes expected a line" });
  assert.deepEqual(outcomeOf(422, '{"title": "T", "detail": 3}'), { kind, status, detail: "T" });
  assert.deepEqual(outcomeOf(422, "<html>"), { kind, status, detail: "" });
  assert.deepEqual(outcomeOf(422, "null"), { kind, status, detail: "" });
});

test("an answer that keeps no contract is garbled", () => {
  const broken = [
    { digit: 10 },
    { digit: 1.5 },
    { digit: "7" },
    { confidence: 1.1 },
    { confidence: null },
    { probabilities: [1] },
    { probabilities: Array.from({ length: 10 }, () => -1) },
    { image: IMAGE.slice(1) },
    { image: IMAGE.map((row) => row.map(() => 256)) },
    { image: undefined },
    { is_digit: 1 },
    { number: "" },
    { number: "x" },
    { number: "77" },
    { number_confidence: -1 },
    { digits: [] },
    { digits: [{ ...ANSWER.digits[0], box: [1, 2, 3] }] },
    { digits: [{ ...ANSWER.digits[0], is_digit: null }] },
  ];
  for (const part of broken) {
    const text = JSON.stringify({ ...ANSWER, ...part });
    assert.deepEqual(outcomeOf(200, text), { kind: "garbled" }, text.slice(0, 80));
  }
  for (const text of ["", "null", "[]", "7"]) {
    assert.deepEqual(outcomeOf(200, text), { kind: "garbled" }, text);
  }
  assert.equal(outcomeOf(200, JSON.stringify(ANSWER)).kind, "answer");
});
