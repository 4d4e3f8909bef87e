// Readings of the last quarter of an hour, and the one that a moving window begins with.

import { continues, latencies } from "./readings.js";

const KEPT_SECONDS = 15 * 60 + 10;

/** Readings in the order in which they were taken. */
export class Timeline {
  #readings = [];

  /** Take the newest reading; those before a restart are of no use to it. */
  add(newest) {
    if (this.newest && !continues(newest, this.newest)) this.#readings = [];
    this.#readings.push(newest);
    const oldest = newest.seconds - KEPT_SECONDS;
    while (this.#readings[0].seconds < oldest) this.#readings.shift();
  }

  get newest() {
    return this.#readings.at(-1);
  }

  /** The reading that a window of so many seconds before `end` begins with. */
  begin(seconds, end = this.newest) {
    const from = end.seconds - seconds;
    return this.#readings.findLast((one) => one.seconds <= from) ?? this.#readings[0];
  }

  /** Latencies over time: at each reading of the window, those of the `span` seconds before it. */
  latencies(seconds, span) {
    const from = this.newest.seconds - seconds;
    return this.#readings
      .filter((one) => one.seconds >= from)
      .map((one) => ({ seconds: one.seconds, grids: latencies(one, this.begin(span, one)) }));
  }
}
