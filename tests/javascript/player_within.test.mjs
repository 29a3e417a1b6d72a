// Stages that ran within a later one, as the load that pipeline() makes; expected.json has what Python answers.
import test from "node:test";
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { filterEvents, highlightsOf, makeOutline, openRecording } from "./explorer.mjs";

const read = (name) => JSON.parse(readFileSync(new URL(`./${name}.json`, import.meta.url)));
const [guide, expected] = ["guide", "expected"].map(read);
const run = openRecording(read("document"), guide);
const outline = makeOutline(run, guide);

test("a stage that ran is in the outline, also where all of its calls are made within a later one", () => {
  const seen = outline.stages.filter((stage) => stage.segments.length || stage.elsewhere.length);
  assert.deepEqual(seen.map((stage) => stage.stage), expected.stages);
  assert.ok(seen.some((stage) => !stage.segments.length), "this recording has such a stage");
});

test("its heading has a link to each of its outermost calls there", () => {
  const eventsOf = (node) => (node.kind === "portal" ? [node.event] : outline.childrenOf(node).flatMap(eventsOf));
  for (const stage of outline.stages) {
    const group = outline.childrenOf(stage).find((node) => node.kind === "elsewhere");
    assert.deepEqual(group ? eventsOf(group) : [], expected.elsewhere[stage.stage] ?? [], `stage ${stage.stage}`);
    if (group) assert.ok(outline.hasChildren(stage) && outline.hasChildren(group));
  }
});

test("the filter of a stage leaves its calls within a later one", () => {
  const left = filterEvents(run, { stage: String(expected.within), step: "", thread: "" });
  assert.deepEqual([...left.keys()].filter((event) => left[event]), expected.events);
});

test("the longest stage is begun where it begins, also within a later one", () => {
  const rows = guide.stages.map((row) => ({ ...row, milliseconds: row.stage === expected.within ? 1e9 : row.milliseconds }));
  const longest = highlightsOf(run, { ...guide, stages: rows }).find((one) => one.title === "Longest stage");
  assert.equal(longest.event, expected.events[0]);
});
