// A row of scores: `scores`, one for each token: the exact ones first (in the order of data.ids), then the tail, where
// each bin is spread out evenly; `order`, the indices of the tokens that can still be chosen, by falling score. Made of
// the compact data of helpers/compact_logits.py.

const CURVE_POINTS = 120;

/** The compact data of one distribution, decoded. */
function decodeLogits(data) {
  const ids = integersOf(data.ids);
  const logits = floatsOf(data.logits);
  const tail = spreadOut(integersOf(data.tail_counts), floatsOf(data.tail_means), floatsOf(data.tail_spreads));
  const scores = new Float64Array(ids.length + tail.length);
  scores.set(logits);
  scores.set(tail, ids.length);
  const order = byFallingScore(scores, Uint32Array.from(scores.keys()).filter((index) => scores[index] > -Infinity));
  const places = new Map(Array.from(ids, (id, place) => [id, place]));
  return { ...data, ids, logits, scores, order, places, exact: ids.length };
}

function spreadOut(counts, means, spreads) {
  const values = new Float64Array(counts.reduce((sum, count) => sum + count, 0));
  let place = 0;
  counts.forEach((count, bin) => {
    for (let n = 0; n < count; n++) values[place++] = means[bin] + spreads[bin] * (1 - (2 * n + 1) / count);
  });
  return values;
}

/** Indices by falling score, equal ones by rising index. */
function byFallingScore(scores, indices) {
  return indices.sort((a, b) => scores[b] - scores[a] || a - b);
}

/** exp(score - highest) for each index of order, and their sum. */
function weigh({ scores, order }) {
  const weights = new Float64Array(order.length);
  const highest = scores[order[0]];
  let sum = 0;
  for (let rank = 0; rank < order.length; rank++) sum += weights[rank] = Math.exp(scores[order[rank]] - highest);
  return { weights, sum };
}

/** Shannon entropy in nats. */
function entropyOf({ weights, sum }) {
  let inner = 0;
  for (const weight of weights) if (weight > 0) inner += weight * Math.log(weight);
  return Math.log(sum) - inner / sum;
}

function cumulativeCurve({ weights, sum }) {
  const ranks = [];
  for (let point = 0; point < CURVE_POINTS; point++) {
    const rank = Math.round(weights.length ** (point / (CURVE_POINTS - 1)));
    if (rank !== ranks.at(-1)) ranks.push(rank);
  }
  const together = [];
  let reached = 0;
  let total = 0;
  for (const rank of ranks) {
    while (reached < rank) total += weights[reached++];
    together.push(total / sum);
  }
  return { ranks, together };
}
