import assert from "node:assert/strict";
import { test } from "node:test";

import {
  SHEET,
  extend,
  isDot,
  nextWidth,
  strokesIn,
  toSend,
  toSheet,
} from "../../public/js/geometry.js";

const MAX_POINTS = 2000; // sent at most
const count = (strokes) => strokes.reduce((sum, stroke) => sum + stroke.length, 0);
const circle = (points, radius = 200) =>
  Array.from({ length: points }, (_, i) => {
    const angle = (i / points) * 2 * Math.PI;
    return [250 + radius * Math.cos(angle), 250 + radius * Math.sin(angle), 1];
  });

test("a place on the screen becomes canvas px whatever the sheet's place and size", () => {
  const box = { left: 100, top: 40, width: 250, height: 250 };
  assert.deepEqual(toSheet(100, 40, box), [0, 0]);
  assert.deepEqual(toSheet(225, 165, box), [SHEET / 2, SHEET / 2]);
  assert.deepEqual(toSheet(350, 290, box), [SHEET, SHEET]);
  assert.deepEqual(toSheet(25, 20, { left: 0, top: 0, width: 50, height: 50 }), [250, 200]);
});

test("ink within half a pen's width is a dot, a line is none", () => {
  assert.equal(isDot([[[250, 250]]]), true);
  assert.equal(isDot([[[250, 250]], [[255, 244], [256, 250]]]), true);
  assert.equal(isDot([[[250, 250]], [[250, 260]]]), false);
  assert.equal(isDot([[[100, 250], [110, 250]]]), false);
});

test("a place past the edge is held on it", () => {
  const box = { left: 100, top: 40, width: 250, height: 250 };
  assert.deepEqual(toSheet(-50, 1000, box), [0, SHEET]);
});

test("points closer than a step to the one before are left out", () => {
  const stroke = [];
  extend(stroke, [[0, 0], [0.5, 0], [0.9, 0], [1.2, 0]]);
  extend(stroke, [[1.3, 0], [2.2, 0]]);
  assert.deepEqual(stroke, [[0, 0], [1.2, 0], [2.2, 0]]);
});

test("a drawing within the limit is sent whole, to a tenth, without its widths", () => {
  const strokes = [circle(MAX_POINTS - 1), [[1.26, 2.04, 0.5]]];
  const sent = toSend(strokes);
  assert.equal(count(sent), MAX_POINTS);
  assert.deepEqual(sent[1], [[1.3, 2]]);
  sent[0].forEach(([x, y], i) => {
    assert.ok(Math.hypot(x - strokes[0][i][0], y - strokes[0][i][1]) < 0.08);
  });
});

test("a stroke without points is left out", () => {
});

test("a long stroke is thinned to the limit, keeps its ends and its shape", () => {
  const long = circle(50_000);
  const [stroke] = toSend([long]);
  assert.ok(stroke.length <= MAX_POINTS);
  assert.ok(stroke.length > 200);
  const sent = ([x, y]) => [Math.round(10 * x) / 10, Math.round(10 * y) / 10];
  assert.deepEqual(stroke[0], sent(long[0]));
  assert.deepEqual(stroke.at(-1), sent(long.at(-1)));
  for (const [x, y] of stroke) assert.ok(Math.abs(Math.hypot(x - 250, y - 250) - 200) < 0.08);
  for (let i = 1; i < stroke.length; i++) {
    const [a, b] = [stroke[i - 1], stroke[i]];
    assert.ok(Math.hypot(a[0] - b[0], a[1] - b[1]) < 10);
  }
});

test("a stroke back to its beginning keeps its far part when thinned", () => {
  const [stroke] = toSend([circle(100), circle(9_000)], 40).slice(1);
  assert.ok(Math.max(...stroke.map(([x]) => x)) - Math.min(...stroke.map(([x]) => x)) > 300);
});

test("of more strokes than the limit the last are left out", () => {
  const dots = Array.from({ length: 5000 }, (_, i) => [[i % 500, Math.floor(i / 500)]]);
  assert.deepEqual(toSend(dots), dots.slice(0, MAX_POINTS / 2));
});

test("thinning stops, whatever the limit", () => {
  assert.equal(count(toSend([circle(1000), circle(1000)], 2)), 2);
});

test("the strokes of one digit are those that lie in its box", () => {
  const [seven, one, long] = [[[10, 10, 1], [60, 90, 1]], [[90, 10, 1], [90.04, 90, 1]],
    [[10, 50, 1], [90, 50, 1]]];
  assert.deepEqual(strokesIn([seven, one, long], [10, 10, 60, 90]), [seven]);
  assert.deepEqual(strokesIn([seven, one, long], [90, 10, 90, 90]), [one]); // it was rounded
  assert.deepEqual(strokesIn([seven, one, long], [10, 10, 90, 90]), [seven, one, long]);
});

test("a line widens with the pen's pressure and thins in a hurry, a little at a time", () => {
  const settled = (pressure, speed) => {
    let width = 1;
    for (let i = 0; i < 100; i++) width = nextWidth(width, pressure, speed);
    return width;
  };
  assert.ok(settled(1, 0) > settled(0.5, 0));
  assert.ok(settled(0.5, 0) > settled(0.1, 0));
  assert.equal(settled(0.5, 9), settled(0.5, 0)); // a pen's pressure alone counts
  assert.ok(settled(null, 0.1) > settled(null, 2));
  assert.equal(settled(null, 50), settled(null, 500));
  assert.ok(Math.abs(nextWidth(1, 1, 0) - 1) < 0.1);
});
