import assert from "node:assert/strict";
import { test } from "node:test";

import { change, redo, startHistory, undo } from "../../public/js/history.js";

const drawn = (...states) => states.reduce(change, startHistory(0));

test("undo and redo go back and forth", () => {
  const history = drawn(1, 2, 3);
  assert.equal(undo(history).now, 2);
  assert.equal(undo(undo(history)).now, 1);
  assert.deepEqual(redo(redo(undo(undo(history)))), history);
});

test("nothing to undo or redo changes nothing", () => {
  assert.deepEqual(undo(drawn()), drawn());
  assert.deepEqual(redo(drawn(1)), drawn(1));
});

test("what was undone is gone after another change", () => {
  const history = change(undo(drawn(1, 2)), 9);
  assert.equal(history.now, 9);
  assert.deepEqual(redo(history), history);
  assert.equal(undo(history).now, 1);
});

test("the oldest of very many steps are let go", () => {
  let history = drawn(...Array.from({ length: 1000 }, (_, i) => i + 1));
  assert.ok(history.past.length < 500);
  while (undo(history) !== history && history.past.length > 0) history = undo(history);
  assert.ok(history.now > 500);
});
