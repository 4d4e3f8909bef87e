// The metrics that the status tab shows, and their change between two readings.

import { histograms, parse, quantile, since, sumBy } from "./prometheus.js";

const gridOf = ({ grid_size: size }) => size;
const stageOf = ({ grid_size: size, stage }) => `${size} ${stage}`;

/** One reading of the service's and the worker's metrics at `seconds`; `worker` is null if it is down. */
export function reading(seconds, service, worker) {
  const samples = [...parse(service), ...parse(worker ?? "")];
  const count = (name, key) => sumBy(samples, name, key);
  return {
    seconds,
    search: histograms(samples, "qasir_search_seconds", gridOf),
    searchStages: histograms(samples, "qasir_search_stage_seconds", stageOf),
    ingestStages: histograms(samples, "qasir_ingest_stage_seconds", stageOf),
    ingest: histograms(samples, "qasir_ingest_seconds", gridOf),
    indexed: count("qasir_video_seconds_indexed_total", gridOf),
    requests: count("qasir_requests_total", ({ code }) => code),
    jobs: count("qasir_jobs", ({ state }) => state),
    videos: count("qasir_index_videos", () => "").get("") ?? 0,
    superImages: count("qasir_index_super_images", gridOf),
    recalls: count("qasir_eval_recall", ({ k, variant, grid_size: n }) => `${variant} ${k} ${n}`),
    workerAnswers: worker !== null,
    version: samples.find(({ name }) => name === "qasir_build_info")?.labels.version ?? "",
  };
}

/** Latency by grid size since `earlier`, or since the start: [{grid, p50, p95, count}]. */
export function latencies(later, earlier) {
  return sorted(later.search).map(([grid, histogram]) => {
    const passed = since(histogram, earlier?.search.get(grid));
    return { grid, p50: quantile(0.5, passed), p95: quantile(0.95, passed), count: passed.count };
  });
}

/** Mean seconds of each stage by grid size: [{grid, stages: [[stage, seconds]]}]. */
export function stageMeans(kind, later, earlier) {
  const grids = new Map();
  for (const [key, histogram] of sorted(later[kind])) {
    const [grid, stage] = key.split(" ");
    const passed = since(histogram, earlier?.[kind].get(key));
    if (passed.count === 0) continue;
    if (!grids.has(grid)) grids.set(grid, { grid, stages: [] });
    grids.get(grid).stages.push([stage, passed.sum / passed.count]);
  }
  return [...grids.values()];
}

/** Seconds of video indexed per second of work, by grid size: [{grid, factor}]. */
export function realTimeFactors(later, earlier) {
  return sorted(later.ingest)
    .map(([grid, histogram]) => {
      const work = since(histogram, earlier?.ingest.get(grid)).sum;
      const video = (later.indexed.get(grid) ?? 0) - (earlier?.indexed.get(grid) ?? 0);
      return { grid, factor: video / work };
    })
    .filter(({ factor }) => Number.isFinite(factor));
}

/** Requests by code, most frequent first: [[code, count]]. */
export function answers(later, earlier) {
  return [...later.requests]
    .map(([code, count]) => [code, count - (earlier?.requests.get(code) ?? 0)])
    .filter(([, count]) => count > 0)
    .sort(([, a], [, b]) => b - a);
}

/** Whether no process restarted since an earlier reading: counters of a new process start at 0. */
export function continues(later, earlier) {
  const total = ({ requests }) => [...requests.values()].reduce((sum, count) => sum + count, 0);
  const work = ({ ingest }) => [...ingest.values()].reduce((sum, { count }) => sum + count, 0);
  return total(later) >= total(earlier) && work(later) >= work(earlier);
}

function sorted(groups) {
  return [...groups].sort(([a], [b]) => a.localeCompare(b, "en", { numeric: true }));
}
