'use strict';
// Writes a client's history: one JSON object per line, on disk before the caller goes on.
// README.md beside the launcher describes the lines.

const crypto = require('node:crypto');
const fs = require('node:fs');

/** Nanoseconds of the machine's monotonic clock, the same for all processes. */
function clock() {
  return process.hrtime.bigint();
}

function checksum(body) {
  return crypto.createHash('sha256').update(body).digest('hex').slice(0, 16);
}

function clientName(role) {
  return `node-${role}-${process.pid}-${crypto.randomBytes(3).toString('hex')}`;
}

/** A killed client tears at most the last line. */
class History {
  #file;
  #calls = 0;
  #ended = false;

  constructor(path, client) {
    this.client = client;
    this.#file = fs.openSync(path, 'w');
  }

  start(version, fields) {
    const boot = fs.readFileSync('/proc/sys/kernel/random/boot_id', 'ascii').trim();
    this.#write([this.#line('start', { boot, language: 'node', version, ...fields })]);
  }

  /** The number of the call; nothing once the history has ended: nobody may act on it any more. */
  invoke(op, fields) {
    const call = ++this.#calls;
    this.#write([this.#line('invoke', { op, call, ...fields })]);
    return this.#ended ? undefined : call;
  }

  /** Messages that the call brought come before its end: a call that ended has told all. */
  complete(op, call, outcome, fields, messages = []) {
    const lines = messages.map(message => this.#line('message', { call, ...message }));
    lines.push(this.#line('complete', { op, call, outcome, ...fields }));
    this.#write(lines);
  }

  /** A message that a push consumer was given. */
  message(fields) {
    this.#write([this.#line('message', fields)]);
  }

  end(reason, counts) {
    this.#write([this.#line('end', { reason, ...counts })]);
    this.#ended = true;
  }

  #line(event, fields) {
    const ts = clock();
    // The clock's value is beyond what a JSON number made by JavaScript keeps.
    const rest = JSON.stringify({ wall: Date.now(), client: this.client, ...fields });
    return `{"event":"${event}","ts":${ts},${rest.slice(1)}`;
  }

  #write(lines) {
    // A call that ends after the end line is one whose end nobody saw.
    if (!this.#ended) {
      fs.writeSync(this.#file, lines.join('\n') + '\n');
    }
  }
}

module.exports = { History, checksum, clientName };
