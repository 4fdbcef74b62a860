import assert from "node:assert/strict";
import { test } from "node:test";

import {
  MAX_POINTS,
  SHEET,
  extend,
  isDot,
  pathOf,
  rounded,
  simplify,
  toSheet,
} from "../../public/js/geometry.js";

const count = (strokes) => strokes.reduce((sum, stroke) => sum + stroke.length, 0);
const circle = (points, radius = 200) =>
  Array.from({ length: points }, (_, i) => {
    const angle = (i / points) * 2 * Math.PI;
    return [250 + radius * Math.cos(angle), 250 + radius * Math.sin(angle)];
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

test("a drawing within the limit is left as it is", () => {
  const strokes = [circle(MAX_POINTS - 1), [[1, 1]]];
  assert.deepEqual(simplify(strokes), strokes);
});

test("a stroke without points is left out", () => {
  assert.deepEqual(simplify([[], [[1, 1]]]), [[[1, 1]]]);
});

test("a long stroke is thinned to the limit, keeps its ends and its shape", () => {
  const long = circle(50_000);
  const [stroke] = simplify([long]);
  assert.ok(stroke.length <= MAX_POINTS);
  assert.ok(stroke.length > 200);
  assert.deepEqual(stroke[0], long[0]);
  assert.deepEqual(stroke.at(-1), long.at(-1));
  for (const [x, y] of stroke) assert.ok(Math.abs(Math.hypot(x - 250, y - 250) - 200) < 1e-9);
  for (let i = 1; i < stroke.length; i++) {
    const [a, b] = [stroke[i - 1], stroke[i]];
    assert.ok(Math.hypot(a[0] - b[0], a[1] - b[1]) < 10);
  }
});

test("a stroke back to its beginning keeps its far part when thinned", () => {
  const [stroke] = simplify([circle(100), circle(9_000)], 40).slice(1);
  assert.ok(Math.max(...stroke.map(([x]) => x)) - Math.min(...stroke.map(([x]) => x)) > 300);
});

test("more strokes than the limit are left out evenly", () => {
  const dots = Array.from({ length: 5000 }, (_, i) => [[i % 500, Math.floor(i / 500)]]);
  const left = simplify(dots);
  assert.equal(left.length, MAX_POINTS);
  assert.deepEqual(left[0], dots[0]);
  assert.ok(left.at(-1)[0][1] >= 9);
});

test("thinning stops, whatever the limit", () => {
  assert.equal(count(simplify([circle(1000), circle(1000)], 1)), 1);
});

test("coordinates are rounded to a tenth", () => {
  assert.deepEqual(rounded([[[1.26, 2.04], [3, 4.96]]]), [[[1.3, 2], [3, 5]]]);
});

test("a path is smooth between the middles and ends at the last point", () => {
  assert.equal(pathOf([]), "");
  assert.equal(pathOf([[1, 2]]), "M1 2h0.01");
  assert.equal(pathOf([[0, 0], [10, 0], [10, 10]]), "M0 0Q10 0 10 5L10 10");
});
