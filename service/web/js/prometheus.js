// Read samples and histogram quantiles from the text of /metrics.

const SAMPLE = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)/;
const LABEL = /(\w+)="((?:[^"\\]|\\.)*)"/g;
const ESCAPED = { "\\n": "\n", '\\"': '"', "\\\\": "\\" };

/** Parse a page into samples [{name, labels, value}], without comments. */
export function parse(text) {
  return text
    .split("\n")
    .map((line) => SAMPLE.exec(line))
    .filter(Boolean)
    .map(([, name, labels, value]) => ({ name, labels: labelsOf(labels ?? ""), value: number(value) }));
}

/** Sum the values of one metric by `key(labels)`, as a Map. */
export function sumBy(samples, name, key) {
  const sums = new Map();
  for (const sample of samples) {
    if (sample.name !== name) continue;
    const group = key(sample.labels);
    sums.set(group, (sums.get(group) ?? 0) + sample.value);
  }
  return sums;
}

/** Sum the histograms of one metric by `key(labels)`: {buckets: [[le, count]], count, sum}. */
export function histograms(samples, name, key) {
  const groups = new Map();
  const of = (group) => {
    if (!groups.has(group)) groups.set(group, { buckets: new Map(), count: 0, sum: 0 });
    return groups.get(group);
  };
  for (const { name: full, labels, value } of samples) {
    if (full === `${name}_bucket`) {
      const { buckets } = of(key(labels));
      const edge = number(labels.le);
      buckets.set(edge, (buckets.get(edge) ?? 0) + value);
    } else if (full === `${name}_sum`) of(key(labels)).sum += value;
    else if (full === `${name}_count`) of(key(labels)).count += value;
  }
  for (const histogram of groups.values()) {
    histogram.buckets = [...histogram.buckets].sort(([a], [b]) => a - b);
  }
  return groups;
}

/** The difference of a histogram and an earlier one. */
export function since(later, earlier) {
  if (!earlier) return later;
  const before = new Map(earlier.buckets);
  return {
    buckets: later.buckets.map(([edge, count]) => [edge, count - (before.get(edge) ?? 0)]),
    count: later.count - earlier.count,
    sum: later.sum - earlier.sum,
  };
}

/** The quantile as Prometheus's histogram_quantile computes it: linear between the edges. */
export function quantile(share, { buckets }) {
  const total = buckets.at(-1)?.[1] ?? 0;
  if (total === 0) return NaN;
  const rank = share * total;
  const at = buckets.findIndex(([, count]) => count >= rank);
  const [upper, count] = buckets[at];
  const [lower, below] = at > 0 ? buckets[at - 1] : [0, 0];
  // Above the last edge, that edge is the best estimate.
  if (upper === Infinity) return lower;
  return lower + ((upper - lower) * (rank - below)) / (count - below);
}

function labelsOf(text) {
  const pairs = [...text.matchAll(LABEL)];
  return Object.fromEntries(pairs.map(([, name, value]) => [name, plain(value)]));
}

function plain(value) {
  return value.replace(/\\["\\n]/g, (match) => ESCAPED[match]);
}

function number(text) {
  if (text === "+Inf") return Infinity;
  return text === "-Inf" ? -Infinity : Number(text);
}
