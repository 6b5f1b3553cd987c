'use strict';
// Sends numbered messages, several at a time, and writes down how each send ended.

const { setTimeout: sleep } = require('node:timers/promises');
const { History, checksum, clientName } = require('./history');
const { KINDS } = require('./kinds');
const { explain, newProducer, sendCounted, version } = require('./library');
const { Progress } = require('./progress');

// After a failed send: an unreachable broker must not use up all messages in a moment.
const PAUSE_AFTER_FAILURE = 100;
// At the end, for calls under way: three requests of three seconds each.
const LAST_CALLS = 10000;

/** Hands out the numbers of messages at the wanted rate until there are enough. */
class Numbers {
  #next = 0;
  #began = performance.now();

  constructor(count, rate, stop) {
    this.count = count;
    this.rate = rate;
    this.stop = stop;
  }

  async take() {
    if (this.stop.aborted || (this.count && this.#next >= this.count)) {
      return undefined;
    }
    const number = this.#next++;
    if (this.rate) {
      const due = this.#began + (number * 1000) / this.rate;
      await sleep(Math.max(0, due - performance.now()), undefined, { signal: this.stop }).catch(() => {});
      if (this.stop.aborted) {
        return undefined;
      }
    }
    return number;
  }
}

/** The id, a line end, and filler that differs between messages. */
function bodyOf(id, size) {
  const head = Buffer.from(`${id}\n`);
  const filler = Buffer.alloc(Math.max(0, size - head.length), `${id}.`);
  return Buffer.concat([head, filler]);
}

function messageFor(topic, id, number, size) {
  return {
    topic,
    body: bodyOf(id, size),
    tag: number % 2 === 0 ? 'even' : undefined,
    keys: number % 3 === 0 ? [`key-${number}`] : [],
    properties: new Map([['quarter', String(number % 4)], ...(number % 5 === 0 ? [['number', String(number)]] : [])]),
  };
}

async function sendOne(producer, kind, history, progress, session, number, size) {
  const id = `${history.client}-${number}`;
  const message = messageFor(kind.parsed.topic, id, number, size);
  const told = kind.prepare(message, session, number);
  const call = history.invoke('send', { session, id, checksum: checksum(message.body), tag: message.tag, ...told });
  progress.add('sent');
  const transaction = kind.transaction(producer);
  const { receipt, error, tries } = await sendCounted(producer, message, transaction);
  if (receipt) {
    const offset = kind.hasPlace ? receipt.offset : undefined;
    history.complete('send', call, 'ok', { message_id: receipt.messageId, offset, tries });
    progress.add('acknowledged');
    await kind.after(producer, id, receipt, transaction);
    return true;
  }
  const { code, text, certain } = explain(error);
  const outcome = certain || tries === 0 ? 'fail' : 'unknown';
  history.complete('send', call, outcome, { code, error: text, tries });
  progress.add(outcome === 'fail' ? 'failed' : 'unknown');
  return false;
}

async function produce(parsed, stop) {
  const history = new History(parsed.history, parsed.name ?? clientName('producer'));
  history.start(version, { topic: parsed.topic });
  const Kind = KINDS[parsed.type];
  if (!Kind) {
    throw new TypeError(`--type is one of ${Object.keys(KINDS).join(', ')}`);
  }
  const progress = new Progress(parsed.progress, ['sent', 'acknowledged', 'unknown', 'failed', 'asked'], history.client);
  const kind = new Kind(parsed, history, progress);
  const producer = await newProducer(parsed, kind.check);
  const numbers = new Numbers(parsed.count, parsed.rate, stop);
  const session = async name => {
    for (let number = await numbers.take(); number !== undefined; number = await numbers.take()) {
      if (!(await sendOne(producer, kind, history, progress, name, number, parsed.size))) {
        await sleep(PAUSE_AFTER_FAILURE);
      }
    }
  };
  const sessions = Promise.all(Array.from({ length: parsed.inFlight }, (_, number) => session(`s${number}`)));
  const stopped = new Promise(resolve => stop.addEventListener('abort', () => setTimeout(resolve, LAST_CALLS)));
  await Promise.race([sessions, stopped]);
  history.end(stop.aborted ? 'signal' : 'count', progress.counts);
  progress.finish();
  return producer;
}

module.exports = { produce };
