'use strict';
// Receives and acknowledges, and writes down everything that came and how each call ended.

const { setTimeout: sleep } = require('node:timers/promises');
const { ConsumeResult } = require('rocketmq-client-nodejs');
const { History, checksum, clientName } = require('./history');
const { idIn, numberIn } = require('./kinds');
const { explain, newPushConsumer, newSimpleConsumer, version } = require('./library');
const { Progress } = require('./progress');

const PAUSE_AFTER_FAILURE = 100;
const ACK_TRIES = 3;

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

  /** Who is busy, and a broker that cannot be asked, are no sign that there is nothing more. */
  postpone() {
    this.#lastMessage = performance.now();
  }

  reason() {
    const seconds = since => (performance.now() - since) / 1000;
    const { count, duration, untilIdle, firstWithin } = this.limits;
    const patience = Math.max(untilIdle, this.#ids.size > 0 ? 0 : firstWithin);
    if (this.stop.aborted) return 'signal';
    if (count && this.#ids.size >= count) return 'count';
    if (duration && seconds(this.#began) >= duration) return 'duration';
    if (untilIdle && seconds(this.#lastMessage) >= patience) return 'idle';
    return undefined;
  }
}

/** Names a delivery. */
function which({ id, message_id, queue, offset, attempt }) {
  return { id, message_id, queue, offset, attempt };
}

class Consuming {
  constructor(parsed, stop) {
    this.parsed = parsed;
    this.history = new History(parsed.history, parsed.name ?? clientName('consumer'));
    this.history.start(version, {
      topic: parsed.topic,
      group: parsed.group,
      filter: parsed.wants ?? parsed.filter,
      sql: parsed.sql ? parsed.filter : undefined,
      kind: parsed.kind,
      order: parsed.order,
      max_attempts: parsed.maxAttempts,
    });
    const counters = ['received', 'deliveries', 'acknowledged', 'receive_errors', 'ack_errors'];
    this.progress = new Progress(parsed.progress, counters, this.history.client);
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
      message_group: message.messageGroup,
      deliver_at: message.deliveryTimestamp?.getTime(),
    };
  }

  /** Some messages are to come again. */
  isGivenBack({ id, attempt }) {
    return this.parsed.giveBack > 0 && attempt <= this.parsed.giveBackTimes && id !== undefined && numberIn(id) % 5 === 0;
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
    for (const message of described) {
      if (this.isGivenBack(message)) {
        message.invisible_ms = this.parsed.giveBack * 1000;
      }
    }
    this.history.complete('receive', call, 'ok', { count: messages.length }, described);
    if (messages.length > 0) {
      this.noteReceived(described);
    }
    return messages.map((message, index) => ({ message, described: described[index] }));
  }

  async giveBack(session, { message, described }) {
    const invisible = this.parsed.giveBack * 1000;
    const call = this.history.invoke('change', { session, ...which(described), invisible_ms: invisible });
    try {
      await this.consumer.changeInvisibleDuration(message, invisible);
      this.history.complete('change', call, 'ok');
    } catch (error) {
      // It comes again when its time is over.
      const { code, text, certain } = explain(error);
      this.history.complete('change', call, certain ? 'fail' : 'unknown', { code, error: text });
    }
  }

  async acknowledge(session, { message, described }) {
    for (let tried = 0; tried < ACK_TRIES; tried++) {
      const call = this.history.invoke('ack', { session, ...which(described) });
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
        const messages = await this.receive(name);
        for (const received of messages) {
          const given = this.isGivenBack(received.described);
          await (given ? this.giveBack(name, received) : this.acknowledge(name, received));
          this.ending.postpone();
        }
        if (messages.length > 0) {
          await sleep(this.parsed.rest * 1000);
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
      if (this.isGivenBack(described)) {
        return ConsumeResult.FAILURE;
      }
      const call = this.history.invoke('ack', which(described));
      if (call === undefined) {
        return ConsumeResult.FAILURE;
      }
      this.history.complete('ack', call, 'unknown', { error: 'the library acknowledges' });
      this.progress.add('acknowledged');
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
