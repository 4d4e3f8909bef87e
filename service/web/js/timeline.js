// Readings of the last 15 minutes, from which the windows of the status tab are taken.

import { continues, latencies } from "./readings.js";

const KEPT_SECONDS = 15 * 60 + 10;

/** Readings in order of time. */
export class Timeline {
  #readings = [];

  /** Add the newest reading, and drop all others if a process restarted since. */
  add(newest) {
    if (this.newest && !continues(newest, this.newest)) this.#readings = [];
    this.#readings.push(newest);
    const oldest = newest.seconds - KEPT_SECONDS;
    while (this.#readings[0].seconds < oldest) this.#readings.shift();
  }

  get newest() {
    return this.#readings.at(-1);
  }

  /** The first reading of the window of so many seconds before `end`. */
  begin(seconds, end = this.newest) {
    const from = end.seconds - seconds;
    return this.#readings.findLast((item) => item.seconds <= from) ?? this.#readings[0];
  }

  /** Latencies over time: for each reading of the window, those of the `span` seconds before it. */
  latencies(seconds, span) {
    const from = this.newest.seconds - seconds;
    return this.#readings
      .filter((item) => item.seconds >= from)
      .map((item) => ({ seconds: item.seconds, grids: latencies(item, this.begin(span, item)) }));
  }
}
