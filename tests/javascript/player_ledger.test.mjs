// Which load a row of the loading ledger belongs to, in recordings where a checkpoint is loaded twice. recordings.json
// has, by version, the document, the guide and `loads`: Python's answer, the load of each event within one.
import test from "node:test";
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { eventOfLedger, isModuleCall, ledgerOf, openRecording } from "./explorer.mjs";

const recordings = JSON.parse(readFileSync(new URL("./recordings.json", import.meta.url)));

for (const [version, { document, guide, loads }] of Object.entries(recordings)) {
  test(`${version}: a call of a load shows that load's row, and a row leads into its own load`, () => {
    const run = openRecording(document, guide);
    const seen = new Set();
    for (const [event, load] of Object.entries(loads).map(([key, value]) => [Number(key), value])) {
      if (isModuleCall(run, event)) continue;
      for (const row of ledgerOf(run, event)) {
        assert.equal(row.load, load, `event ${event}, ${row.parameter}`);
        seen.add(load);
      }
    }
    assert.deepEqual([...seen].sort(), [0, 1]);
    for (const row of run.loads.filter((one) => one.status === "loaded")) {
      const event = eventOfLedger(run, row);
      if (event in loads) assert.equal(loads[event], row.load, `row of ${row.parameter}`);
      else assert.notEqual(run.events.thread[event], 0); // read in a thread, which stands in no call of the load
    }
  });
}
