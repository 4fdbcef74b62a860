import assert from "node:assert/strict";
import { test } from "node:test";

import { useQuestions } from "../../public/js/live.js";

/** Questions whose answers the test gives, on a clock that the test moves. */
function started(t) {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const asked = [];
  const heard = [];
  const questions = useQuestions({
    ask(about, signal) {
      return new Promise((answer) => asked.push({ about, signal, answer }));
    },
    onWait: (wait) => heard.push(wait),
    onOutcome: (outcome, about) => heard.push([outcome, about]),
  });
  const about = () => asked.map((each) => each.about);
  return { questions, asked, heard, about, tick: (ms) => t.mock.timers.tick(ms) };
}

const settled = () => new Promise(setImmediate);

test("it asks once, when the pen has rested", (t) => {
  const { questions, about, tick } = started(t);
  questions.soon("a");
  tick(200);
  questions.soon("ab");
  tick(200);
  assert.deepEqual(about(), []);
  tick(200);
  assert.deepEqual(about(), ["ab"]);
});

test("asking now doesn't wait, and nothing is asked twice", (t) => {
  const { questions, about, tick } = started(t);
  questions.soon("a");
  questions.now("a");
  tick(1000);
  assert.deepEqual(about(), ["a"]);
  assert.equal(questions.isAsking(), true);
});

test("never two at once: the older one is aborted and its answer is not heard", async (t) => {
  const { questions, asked, heard } = started(t);
  questions.now("old");
  questions.now("new");
  assert.equal(asked[0].signal.aborted, true);
  assert.equal(asked[1].signal.aborted, false);
  asked[0].answer("stale");
  asked[1].answer("fresh");
  await settled();
  assert.deepEqual(heard, [["fresh", "new"]]);
  assert.equal(questions.isAsking(), false);
});

test("what is dropped is neither asked nor heard", async (t) => {
  const { questions, asked, heard, tick } = started(t);
  questions.now("a");
  questions.drop();
  asked[0].answer("late");
  questions.soon("b");
  questions.drop();
  tick(10_000);
  await settled();
  assert.equal(asked.length, 1);
  assert.deepEqual(heard, []);
});

test("a wait is told, and a long one again, a quick answer not", async (t) => {
  const { questions, asked, heard, tick } = started(t);
  questions.now("quick");
  tick(100);
  asked[0].answer("yes");
  await settled();
  tick(10_000);
  assert.deepEqual(heard, [["yes", "quick"]]);
  questions.now("slow");
  tick(300);
  assert.deepEqual(heard.slice(1), ["reading"]);
  tick(3000);
  assert.deepEqual(heard.slice(1), ["reading", "slow"]);
});
