'use strict';
// Counts what happens and prints the counts as JSON lines while it does.

class Progress {
  #timer;

  constructor(period, names) {
    this.counts = Object.fromEntries(names.map(name => [name, 0]));
    if (period > 0) {
      this.#timer = setInterval(() => console.log(JSON.stringify(this.counts)), period * 1000);
    }
  }

  add(name, number = 1) {
    this.counts[name] += number;
  }

  set(name, number) {
    this.counts[name] = Math.max(this.counts[name], number);
  }

  finish() {
    clearInterval(this.#timer);
    console.log(JSON.stringify({ ...this.counts, final: true }));
  }
}

module.exports = { Progress };
