// What the player says of a step, and what it leaves of a name, without a browser; the data are those of player.test.mjs.
import test from "node:test";
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { filterEvents, filtersText, leftText, nameParts, openRecording, positionText, tellingOf } from "./explorer.mjs";

const read = (name) => JSON.parse(readFileSync(new URL(`./${name}.json`, import.meta.url)));
const guide = read("guide");
const run = openRecording(read("document"), guide);

test("the counter tells the number of the event, and which one of how many it is", () => {
  const count = run.count.toLocaleString("en-GB");
  assert.ok(positionText({ run, position: { event: 0, line: -1 } }).startsWith(`event 0 (1 of ${count})`));
  const last = (run.count - 1).toLocaleString("en-GB");
  assert.ok(positionText({ run, position: { event: run.count - 1, line: -1 } }).startsWith(`event ${last} (${count} of ${count})`));
});

test("filters are told by the names that the lists offer, with what they leave", () => {
  const filters = { stage: "8", step: "0.1", thread: "0" };
  const names = filtersText(run, guide, filters);
  assert.equal(names, `stage 8 ${guide.stages.find((row) => row.stage === 8).name} · decode step 1 · thread ${run.threads[0]}`);
  const included = filterEvents(run, filters);
  const left = [...included].filter(Boolean).length;
  assert.ok(leftText(names, included).includes(`${left} of ${run.count} events pass; steps stay within them`));
  assert.match(leftText(names, new Uint8Array(9)), /No event passes/);
  assert.equal(filtersText(run, guide, { stage: "", step: "none", thread: "" }), "outside generation");
});

test("a name keeps what tells it apart: what follows its last point or slash, or its end", () => {
  assert.deepEqual(nameParts("short"), ["short", ""]);
  assert.deepEqual(nameParts("_BaseAutoModelClass.from_pretrained"), ["_BaseAutoModelClass", ".from_pretrained"]);
  assert.deepEqual(nameParts("model.layers.7.self_attn.k_proj.weight"), ["model.layers.7.self_attn", ".k_proj.weight"]);
  assert.deepEqual(nameParts("ThreadPoolExecutor-0_1", 10), ["ThreadPoolExecuto", "r-0_1"]);
  for (const name of ["x".repeat(90), "a.".repeat(40), "", "/".repeat(60)]) assert.equal(nameParts(name).join(""), name);
});

test("calls of one function are told apart by the tensor that they are about", () => {
  const about = [...Array(run.count).keys()].filter((event) => run.loadedNames.has(tellingOf(run, event)));
  assert.ok(about.length > 4);
  for (const one of new Set(about.map((event) => run.events.function[event]))) {
    const told = about.filter((event) => run.events.function[event] === one).map((event) => tellingOf(run, event));
    assert.ok(told.length === 1 || new Set(told).size > 1, run.functions[one].qualname);
  }
});
