// What to begin with in a recording, and a step as text for a bug report. Pure: no DOM.

// Highlights ----------------------------------------------------------------------------------------------------------

/** Events to begin with: {title, text, event} each; only what the recording shows. */
function highlightsOf(run, guide) {
  if (!run.count) return [];
  return [errorHighlight(run), memoryHighlight(run), ...decisionHighlights(run), castHighlight(run), ...stepHighlights(run), slowestStage(run, guide),
    attentionHighlight(run)].filter(Boolean);
}

/** Where the error began that left the recorded code: the innermost of the calls that it went through. */
function errorHighlight(run) {
  const raised = (event) => run.events.status[event] === ENDED_RAISED;
  let event = run.events.parent.findLastIndex((around, one) => around < 0 && raised(one));
  if (event < 0) return null;
  for (let within = event; within !== undefined; within = run.callees.get(within)?.findLast(raised)) event = within;
  return { title: "Error", text: `raised in ${eventName(run, event)}`, event };
}

function memoryHighlight(run) {
  const rises = run.ownRises;
  const event = rises.reduce((best, rise, at) => (rise > rises[best] ? at : best), 0);
  if (!(rises[event] > 0)) return null;
  const within = stepText(run, event);
  return {
    title: "Greatest memory rise",
    text: `+${formatBytes(rises[event])} resident in ${eventName(run, event)} itself, without the calls within it${within ? ` (${within})` : ""}`,
    event,
  };
}

function decisionHighlights(run) {
  return [...run.linesOf.keys()].filter((event, place, all) =>
    all.findIndex((one) => run.events.function[one] === run.events.function[event]) === place,
  ).map((event) => ({
    title: "Line by line",
    text: `${landmarksOfEvent(run, event)[0]?.role ?? "lines recorded"} (${functionOf(run, event).qualname})`,
    event,
  }));
}

function castHighlight(run) {
  const cast = run.loads.filter((row) => row.disk_dtype && row.dtype && row.disk_dtype !== row.dtype);
  if (!cast.length) return null;
  const event = eventOfLedger(run, cast[0]);
  if (event < 0) return null;
  return { title: "Cast while loading", text: `${formatNumber(cast.length)} tensors, ${cast[0].disk_dtype} → ${cast[0].dtype}`, event };
}

function stepHighlights(run) {
  const first = run.events.step.findIndex((step) => step === 0);
  const second = run.events.step.findIndex((step) => step === 1);
  const time = (number) => run.steps.find((row) => row.step === number);
  return [["Prefill", first, 0], ["First decode step", second, 1]].filter(([, event]) => event >= 0).map(([title, event, number]) => ({
    title, event, text: time(number) ? formatMilliseconds(time(number).end - time(number).start) : "",
  }));
}

function slowestStage(run, guide) {
  const timed = guide.stages.filter((row) => row.stage !== null && row.milliseconds !== null);
  if (!timed.length) return null;
  const stage = timed.reduce((best, row) => (row.milliseconds > best.milliseconds ? row : best));
  const event = run.stage.indexOf(stage.stage);
  return event < 0 ? null : { title: "Longest stage", text: `${stage.stage} ${stage.name}, ${formatMilliseconds(stage.milliseconds)} of its own`, event };
}

function attentionHighlight(run) {
  const isAttention = run.functions.map((one) => /scaled_dot_product_attention$/.test(one.qualname));
  const event = run.events.function.findIndex((index) => isAttention[index]);
  return event < 0 ? null : { title: "Attention", text: "query, key and value as scaled_dot_product_attention gets them", event };
}

// For a bug report ----------------------------------------------------------------------------------------------------

/** A step as Markdown: where, in what, with what. */
function markdownOf(run, position) {
  const { event } = position;
  const of = functionOf(run, event);
  const fence = (text) => `\`${String(text).replaceAll("`", "'").replaceAll("\n", " ")}\``;
  const lines = [
    `### ${fence(`${of.module}:${of.qualname}`)}`,
    "",
    `- location: ${fence(locationOf(of))}${position.line >= 0 ? `, at line ${run.lines[position.line].line}` : ""}`,
    `- event ${event} of ${run.count}${stepText(run, event) ? `, ${stepText(run, event)}` : ""}, thread ${fence(run.threads[run.events.thread[event]])}, ${formatMilliseconds(durationOf(run, event))}, ${EVENT_ENDINGS[run.events.status[event]]}`,
  ];
  if (pathOf(run, event)) lines.push(`- module: ${fence(pathOf(run, event))}`);
  const landmarks = landmarksOfEvent(run, event);
  if (landmarks.length) lines.push(`- landmark: ${landmarks.map((one) => fence(one.id)).join(", ")}`);
  lines.push(`- stack: ${stackOf(run, event).map((one) => fence(eventName(run, one))).join(" → ")}`);
  const tensors = [...inputsOf(run, event).map((spec) => ["in", spec]), ...outputsOf(run, event).map((spec) => ["out", spec])];
  if (tensors.length) {
    lines.push("", "| | tensor | shape | dtype | device | bytes |", "|---|---|---|---|---|---|");
    for (const [side, spec] of tensors) {
      lines.push(`| ${side} | ${fence(spec.name)} | ${shapeText(spec.shape)} | ${spec.dtype} | ${spec.device} | ${spec.nbytes ?? ""} |`);
    }
  }
  const values = [...run.valueLists[run.events.arguments[event]], ...run.valueLists[run.events.result[event]].map(([name, value]) => [`→ ${name}`, value])];
  if (values.length) lines.push("", ...values.map(([name, value]) => `- ${fence(`${name} = ${pythonText(value)}`)}`));
  const { environment } = run;
  const versions = ["transformers", "torch", "accelerate", "safetensors", "python", "platform"];
  lines.push("", versions.filter((name) => environment[name]).map((name) => `${name} ${environment[name]}`).join(", "));
  return lines.join("\n") + "\n";
}
