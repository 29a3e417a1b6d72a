// The installed chain of logits processors, for pages without a kernel: the same steps as the library's, and what each
// did. tests/test_sampling_chain.py holds every number here to the library.

const RAW_LOGITS = "raw logits";
const KEPT = -1;
const NEVER_POSSIBLE = -2;
const LARGEST_FLOAT32 = 3.4028234663852886e38;

/** Run the chain: the same keys as helpers.sampling_answers.result gives, and `final`, the row to draw from. */
function computeResult(installed, decoded, settings) {
  const unknown = unknownProcessors(installed);
  if (unknown.length) {
    const words =
      `This page cannot compute ${unknown.join(", ")}, which is in the chain of this model. ` +
      "In the notebook, with a kernel, the library computes it.";
    return { refusal: words, uncomputable: unknown };
  }
  try {
    const effective = effectiveSettings(installed, settings);
    return runChain(decoded, effective, buildChain(installed, effective));
  } catch (error) {
    if (error instanceof Refusal) return { refusal: error.message };
    throw error;
  }
}

function runChain(decoded, effective, steps) {
  const own = [...new Set(decoded.input_ids)].map((id) => decoded.places.get(id)).filter((place) => place >= 0);
  const context = { own, ids: decoded.ids, inputIds: decoded.input_ids };
  const removedBy = new Int32Array(decoded.exact).fill(NEVER_POSSIBLE);
  for (const index of decoded.order) if (index < decoded.exact) removedBy[index] = KEPT;
  let row = { scores: decoded.scores, order: decoded.order };
  let penalised = null;
  const stages = [stageOf(decoded, RAW_LOGITS, RAW_LOGITS, null, row)];
  steps.forEach(({ name, processor, value }, number) => {
    const before = row;
    row = processor.apply(before, value.number, context);
    const inside = processor.label?.(value) ?? `${processor.attribute ?? processor.parameter}=${shortNumber(value)}`;
    const label = `${name}(${inside})`;
    refuseUnusable(row, label);
    noteRemoved(removedBy, before, row, number);
    if (name === "RepetitionPenaltyLogitsProcessor") penalised = penalisedScores(decoded, own, row);
    stages.push(stageOf(decoded, name, label, before, row));
  });
  const weighed = weigh(row);
  const probabilities = new Float64Array(decoded.exact);
  row.order.forEach((index, rank) => {
    if (index < decoded.exact) probabilities[index] = weighed.weights[rank] / weighed.sum;
  });
  const last = stages.at(-1);
  return {
    refusal: "",
    effective: Object.fromEntries(PARAMETER_NAMES.map((name) => [name, pythonText(name, effective[name])])),
    messages: [],
    do_sample: Boolean(effective.do_sample?.number),
    stages,
    probabilities: Float32Array.from(probabilities),
    removed_by: removedBy,
    others: othersOf(decoded, row),
    penalised,
    greedy_id: last.top_id,
    greedy_text: last.top_text,
    final: { row, weighed },
  };
}

function refuseUnusable({ scores, order }, label) {
  if (!order.length) throw new Refusal(`${label} removed the last possible token: nothing is left to choose from.`);
  const unusable = order.some((index) => !(Math.abs(scores[index]) <= LARGEST_FLOAT32));
  if (unusable) throw new Refusal(`${label} gave scores that are NaN or +inf: check its parameters.`);
}

function noteRemoved(removedBy, before, after, number) {
  if (before.order.length === after.order.length) return;
  const kept = new Set(after.order);
  for (const index of before.order) if (index < removedBy.length && !kept.has(index)) removedBy[index] = number;
}

function stageOf(decoded, processor, label, before, row) {
  const weighed = weigh(row);
  const top = topOf(decoded, row);
  const rescored = before ? countRescored(before, row) : 0;
  const removed = before ? before.order.length - row.order.length : 0;
  const changed = !before || rescored > 0 || removed > 0;
  return {
    processor,
    label,
    kept: row.order.length,
    removed,
    rescored,
    changed,
    entropy: entropyOf(weighed) / Math.LN2,
    top_id: top.id,
    top_text: top.text,
    top_probability: weighed.weights[0] / weighed.sum,
    share: before && removed ? shareOf(before, row) : 1,
    curve: changed ? cumulativeCurve(weighed) : null,
  };
}

function countRescored(before, row) {
  if (before.scores === row.scores) return 0;
  let count = 0;
  for (const index of row.order) if (before.scores[index] !== row.scores[index]) count++;
  return count;
}

/** How much probability the tokens of `row` had in `before`. */
function shareOf(before, row) {
  const { sum } = weigh(before);
  const highest = before.scores[before.order[0]];
  let kept = 0;
  for (const index of row.order) kept += Math.exp(before.scores[index] - highest);
  return kept / sum;
}

/** The token with the highest score; the lowest id among equals, as torch.argmax on a CPU. */
function topOf(decoded, { scores, order }) {
  let best = order[0];
  for (let rank = 1; rank < order.length && scores[order[rank]] === scores[order[0]]; rank++) {
    const index = order[rank];
    if (index < decoded.exact && (best >= decoded.exact || decoded.ids[index] < decoded.ids[best])) best = index;
  }
  if (best >= decoded.exact) return { id: -1, text: "one of the others" };
  return { id: decoded.ids[best], text: decoded.texts[best] };
}

function othersOf(decoded, row) {
  const sumOutside = (one) => {
    const { weights, sum } = weigh(one);
    let total = 0;
    let count = 0;
    one.order.forEach((index, rank) => {
      if (index < decoded.exact) return;
      total += weights[rank];
      count++;
    });
    return { probability: total / sum, count };
  };
  const raw = sumOutside(decoded);
  const after = sumOutside(row);
  const count = decoded.vocabulary - decoded.exact;
  return { count, kept: after.count, raw: raw.probability, probability: after.probability };
}

function penalisedScores(decoded, own, row) {
  const indices = [...own].sort((a, b) => decoded.ids[a] - decoded.ids[b]);
  const scores = indices.map((index) => (row.scores[index] > -Infinity ? row.scores[index] : null));
  return { ids: indices.map((index) => decoded.ids[index]), scores };
}
