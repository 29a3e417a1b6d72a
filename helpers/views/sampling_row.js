// A row of scores: `scores`, one for each token: the exact ones first (in the order of data.ids), then the tail by
// falling logit; `order`, the indices of the tokens that can still be chosen, by falling score. Made of the compact data
// of helpers/sampling_answers/compact_logits.py.

const CURVE_POINTS = 120;

/** The compact data of one distribution, decoded. */
function decodeLogits(data) {
  const ids = integersOf(data.ids);
  const logits = floatsOf(data.logits);
  const tail = logitsOfGaps(data.tail);
  const scores = new Float64Array(ids.length + tail.length);
  scores.set(logits);
  scores.set(tail, ids.length);
  const order = byFallingScore(scores, Uint32Array.from(scores.keys()).filter((index) => scores[index] > -Infinity));
  const places = new Map(Array.from(ids, (id, place) => [id, place]));
  return { ...data, ids, logits, scores, order, places, exact: ids.length };
}

const GOLOMB_ORDER = 2; // as in helpers/sampling_answers/logit_gaps.py

/** The falling logits that helpers/sampling_answers/logit_gaps.py has written. Different ones in one step are spread evenly over it. */
function logitsOfGaps({ highest, step, count, bits }) {
  const next = exponentialGolomb(bytesOf(bits));
  const values = new Float64Array(count);
  let level = 0;
  let first = 0; // of the places in this level
  let different = 0; // logits that the level has beside its first
  const within = new Uint32Array(count);
  const spreadOut = (end) => {
    for (let place = first; place < end; place++) {
      values[place] = highest - (level + within[place] / (different + 1) - different / (2 * different + 2)) * step;
    }
  };
  for (let place = 0; place < count; place++) {
    const told = next();
    if (told > 1) {
      spreadOut(place);
      level += told - 1;
      first = place;
      different = 0;
    } else if (told === 1) different++;
    within[place] = different;
  }
  spreadOut(count);
  return values;
}

/** A reader of exponential Golomb codes: each call gives the next number. */
function exponentialGolomb(bytes) {
  let position = 0;
  const bit = () => {
    if (position >> 3 >= bytes.length) throw new RangeError("The tail of this distribution ends too early.");
    return (bytes[position >> 3] >> (7 - (position++ & 7))) & 1;
  };
  return () => {
    let width = GOLOMB_ORDER;
    while (!bit()) width++;
    let value = 1;
    for (let n = 0; n < width; n++) value = 2 * value + bit();
    return value - 2 ** GOLOMB_ORDER;
  };
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
