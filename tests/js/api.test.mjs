import assert from "node:assert/strict";
import { test } from "node:test";

import { ask, isAnswer, question, troubleOf } from "../../public/js/api.js";

const MAX_BODY = 64 * 1024; // bytes, the server's limit
const IMAGE = Array.from({ length: 28 }, () => Array.from({ length: 28 }, () => 0));
const READ = { digit: 7, confidence: 0.9, is_digit: true, image: IMAGE };
const ANSWER = {
  ...READ,
  number: "7",
  number_confidence: 0.8,
  digits: [{ ...READ, box: [1, 2, 3, 4] }],
  probabilities: [0, 0, 0, 0.1, 0, 0, 0, 0.9, 0, 0],
};
const BODY = { strokes: [[[1, 2], [3, 4]]] };

const put = (body, { status = 200, headers = {}, ...options } = {}) => {
  const fetch = async () => new Response(body, { status, headers });
  return ask("u", BODY, isAnswer, { fetch, ...options });
};
const hang = (_, { signal }) =>
  new Promise((_, reject) => {
    const alive = setInterval(() => {}, 1000); // Node ends where only AbortSignal.timeout() waits
    const end = () => {
      clearInterval(alive);
      reject(signal.reason);
    };
    signal.addEventListener("abort", end);
    if (signal.aborted) end();
  });

test("a question holds rounded strokes without their widths and asks for the image", () => {
  const strokes = [[[1.26, 2, 0.9], [3, 4, 1]]];
  assert.deepEqual(question(strokes), { strokes: [[[1.3, 2], [3, 4]]], image: true });
});

test("the longest drawing stays under the server's limit", () => {
  const long = Array.from({ length: 100_000 }, (_, i) => [(i * 77.7) % 500, (i * 33.3) % 500, 1]);
  const dots = Array.from({ length: 30_000 }, (_, i) => [[(i * 77.7) % 500, (i * 33.3) % 500, 1]]);
  for (const strokes of [[long], dots]) {
    assert.ok(JSON.stringify(question(strokes)).length < MAX_BODY);
  }
});

test("a question is a POST of JSON and its answer is handed on", async () => {
  let seen;
  const fetch = async (url, options) => {
    seen = { url, ...options };
    return new Response(JSON.stringify(ANSWER));
  };
  const outcome = await ask("api/predict", BODY, isAnswer, { fetch });
  assert.deepEqual(outcome, { kind: "answer", answer: ANSWER });
  assert.equal(seen.url, "api/predict");
  assert.equal(seen.method, "POST");
  assert.equal(seen.headers["Content-Type"], "application/json");
  assert.equal(seen.body, JSON.stringify(BODY));
});

test("without a body it is a GET", async () => {
  let seen;
  const fetch = async (_, options) => {
    seen = options;
    return new Response("{}");
  };
  await ask("u", null, () => true, { fetch });
  assert.equal(seen.method, "GET");
  assert.equal(seen.body, null);
  assert.equal("Content-Type" in seen.headers, false);
});

test("a question that nobody hears is lost", async () => {
  const fetch = async () => {
    throw new TypeError("Failed to fetch");
  };
  assert.deepEqual(await ask("u", BODY, isAnswer, { fetch }), { kind: "lost" });
});

test("a question without an answer in time is late", async () => {
  const outcome = await ask("u", BODY, isAnswer, { fetch: hang, timeout: 10 });
  assert.deepEqual(outcome, { kind: "late" });
});

test("an aborted question is dropped, before and after it is asked", async () => {
  const stop = new AbortController();
  const pending = ask("u", BODY, isAnswer, { fetch: hang, signal: stop.signal });
  stop.abort();
  assert.deepEqual(await pending, { kind: "dropped" });
  const again = ask("u", BODY, isAnswer, { fetch: hang, signal: stop.signal });
  assert.deepEqual(await again, { kind: "dropped" });
});

test("too many questions: the seconds to wait, two where they are not told", async () => {
  const outcome = await put("{}", { status: 429, headers: { "Retry-After": "12" } });
  assert.deepEqual(outcome, { kind: "limited", seconds: 12 });
  for (const header of ["soon", null, "-1", "99999"]) {
    assert.deepEqual(troubleOf(429, null, header), { kind: "limited", seconds: 2 }, header);
  }
});

test("an error of the server, or of nginx before it, is a failing server", async () => {
  for (const status of [500, 502, 503, 504]) {
    assert.deepEqual(await put("<html>", { status }), { kind: "failing" });
  }
});

test("a problem is refused with its detail, else its title, else its number", () => {
  const detail = (body) => troubleOf(422, body, null).detail;
  assert.equal(troubleOf(422, {}, null).kind, "refused");
  assert.equal(detail({ title: "Unprocessable", detail: "expected a line" }), "expected a line");
  assert.equal(detail({ title: "T", detail: 3 }), "T");
  for (const body of [null, {}, { detail: "" }]) assert.equal(detail(body), "422");
});

test("an answer that keeps no contract is garbled", async () => {
  const [digit] = ANSWER.digits;
  const broken = [
    { probabilities: [1] },
    { probabilities: undefined },
    { digits: [] },
    { digits: [{ ...digit, image: undefined }] },
  ];
  for (const part of broken) {
    const text = JSON.stringify({ ...ANSWER, ...part });
    assert.deepEqual(await put(text), { kind: "garbled" }, JSON.stringify(part).slice(0, 80));
  }
  for (const text of ["", "null", "[]", "7"]) {
    assert.deepEqual(await put(text), { kind: "garbled" }, text);
  }
  assert.equal((await put(JSON.stringify(ANSWER))).kind, "answer");
});
