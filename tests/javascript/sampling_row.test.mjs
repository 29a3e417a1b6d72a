// One row of scores as it travels: its tail is Python's, and a tail that was cut is told.
import test from "node:test";
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { decodeLogits } from "./explorer.mjs";

const rows = JSON.parse(readFileSync("rows.json", "utf8"));

test("each logit of the tail is the one that Python reads from the same bits", () => {
  for (const { data, tail } of rows) {
    const { scores, exact, order } = decodeLogits(data);
    const mine = scores.slice(exact);
    assert.equal(mine.length, tail.length);
    assert.ok(mine.every((score, place) => Math.abs(score - tail[place]) <= 1e-12 * Math.max(1, Math.abs(score))));
    assert.ok(mine.every((score, place) => place === 0 || (score === mine[place - 1]) === (tail[place] === tail[place - 1])));
    assert.ok(order.every((index, rank) => rank === 0 || scores[order[rank - 1]] >= scores[index]));
  }
});

test("a tail that ends too early is told", () => {
  const { data } = rows[0];
  const bits = Buffer.from(data.tail.bits, "base64").subarray(0, -9).toString("base64");
  assert.throws(() => decodeLogits({ ...data, tail: { ...data.tail, bits } }), /ends too early/);
  assert.throws(() => decodeLogits({ ...data, tail: { ...data.tail, bits: "" } }), RangeError);
});
