'use strict';
// Counts what happens and prints the counts as JSON lines while it does.

class Progress {
  #timer;

  constructor(period, names, client) {
    this.client = client;
    this.counts = Object.fromEntries(names.map(name => [name, 0]));
    if (period > 0) {
      this.#timer = setInterval(() => this.#print({}), period * 1000);
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
    this.#print({ final: true });
  }

  #print(more) {
    console.log(JSON.stringify({ client: this.client, ...this.counts, ...more }));
  }
}

module.exports = { Progress };
