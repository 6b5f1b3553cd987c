'use strict';
// Receives and acknowledges, and writes down everything that came and how each call ended.

const { setTimeout: sleep } = require('node:timers/promises');
const { ConsumeResult } = require('rocketmq-client-nodejs');
const { History, checksum, clientName } = require('./history');
const { explain, newPushConsumer, newSimpleConsumer, version } = require('./library');
const { Progress } = require('./progress');

const PAUSE_AFTER_FAILURE = 100;
const ACK_TRIES = 3;

/** The id in a body that one of our producers wrote, else nothing. */
function idIn(body) {
  const end = body.subarray(0, 256).indexOf(10);
  return end > 0 ? body.subarray(0, end).toString('latin1') : undefined;
}

/** Decides when enough has been received. */
class Ending {
  #ids = new Set();
  #began = performance.now();
  #lastMessage = this.#began;

  constructor(limits, stop) {
    this.limits = limits;
    this.stop = stop;
  }

  note(ids) {
    ids.forEach(id => this.#ids.add(id));
    this.#lastMessage = performance.now();
    return this.#ids.size;
  }

  /** A broker that cannot be asked is no sign that there is nothing more. */
  postpone() {
    this.#lastMessage = performance.now();
  }

  reason() {
    const seconds = since => (performance.now() - since) / 1000;
    const { count, duration, untilIdle } = this.limits;
    if (this.stop.aborted) return 'signal';
    if (count && this.#ids.size >= count) return 'count';
    if (duration && seconds(this.#began) >= duration) return 'duration';
    if (untilIdle && seconds(this.#lastMessage) >= untilIdle) return 'idle';
    return undefined;
  }
}

class Consuming {
  constructor(parsed, stop) {
    this.parsed = parsed;
    this.history = new History(parsed.history, parsed.name ?? clientName('consumer'));
    this.history.start(version, {
      topic: parsed.topic,
      group: parsed.group,
      filter: parsed.filter,
      kind: parsed.kind,
    });
    const counters = ['received', 'deliveries', 'acknowledged', 'receive_errors', 'ack_errors'];
    this.progress = new Progress(parsed.progress, counters);
    this.stop = stop;
  }

  describe(message, invisible) {
    return {
      id: idIn(message.body),
      checksum: checksum(message.body),
      message_id: message.messageId,
      queue: this.consumer.takeQueue(message),
      offset: message.offset,
      attempt: message.deliveryAttempt ?? 0,
      invisible_ms: invisible,
      tag: message.tag || undefined,
      corrupted: message.corrupted ?? false,
    };
  }

  noteReceived(described) {
    this.progress.set('received', this.ending.note(described.map(message => message.id).filter(Boolean)));
    this.progress.add('deliveries', described.length);
  }

  async receive(session) {
    const invisible = this.parsed.invisible * 1000;
    const call = this.history.invoke('receive', { session });
    let messages;
    try {
      messages = await this.consumer.receive(this.parsed.batch, invisible);
    } catch (error) {
      const { code, text, certain } = explain(error);
      this.history.complete('receive', call, certain ? 'fail' : 'unknown', { code, error: text });
      this.progress.add('receive_errors');
      this.ending.postpone();
      await sleep(PAUSE_AFTER_FAILURE);
      return [];
    }
    const described = messages.map(message => this.describe(message, invisible));
    this.history.complete('receive', call, 'ok', { count: messages.length }, described);
    if (messages.length > 0) {
      this.noteReceived(described);
    }
    return messages.map((message, index) => ({ message, described: described[index] }));
  }

  async acknowledge(session, { message, described }) {
    const { id, message_id, queue, offset, attempt } = described;
    for (let tried = 0; tried < ACK_TRIES; tried++) {
      const call = this.history.invoke('ack', { session, id, message_id, queue, offset, attempt });
      try {
        await this.consumer.ack(message);
        this.history.complete('ack', call, 'ok');
        this.progress.add('acknowledged');
        return;
      } catch (error) {
        const { code, text, certain } = explain(error);
        this.history.complete('ack', call, certain ? 'fail' : 'unknown', { code, error: text });
        this.progress.add('ack_errors');
        if (certain) {
          return;
        }
        await sleep(PAUSE_AFTER_FAILURE);
      }
    }
  }

  async simple() {
    this.consumer = await newSimpleConsumer(this.parsed);
    this.ending = new Ending(this.parsed, this.stop);
    const session = async name => {
      while (!this.ending.reason()) {
        for (const received of await this.receive(name)) {
          await this.acknowledge(name, received);
        }
      }
    };
    for (let number = 0; number < this.parsed.inFlight; number++) {
      session(`r${number}`);
    }
  }

  /** The library acknowledges by itself and does not tell how that ended. */
  async push() {
    this.ending = new Ending(this.parsed, this.stop);
    this.consumer = await newPushConsumer(this.parsed, async message => {
      const described = this.describe(message, undefined);
      this.history.message(described);
      this.noteReceived([described]);
      return ConsumeResult.SUCCESS;
    });
  }

  async run() {
    await (this.parsed.kind === 'push' ? this.push() : this.simple());
    this.ending.postpone();
    while (!this.ending.reason()) {
      await sleep(100);
    }
    const reason = this.ending.reason();
    // Acknowledgements under way; a receive that waits for messages may take longer and counts as not seen to end.
    await sleep(1000);
    this.history.end(reason, this.progress.counts);
    this.progress.finish();
    return this.consumer;
  }
}

function consume(parsed, stop) {
  return new Consuming(parsed, stop).run();
}

module.exports = { consume };
