'use strict';
// What a scenario works with: names of its own, clients that are closed afterwards, and waiting that ends.

const { setTimeout: sleep } = require('node:timers/promises');
const { isDeepStrictEqual } = require('node:util');
const { FilterExpression, Producer, PushConsumer, SimpleConsumer } = require('rocketmq-client-nodejs');
const { options, started } = require('./library');

// How long a delivered message is invisible, and a receive waits.
const INVISIBLE_MS = 30000;
const WAIT_MS = 5000;
const LOOK_AGAIN_MS = 20;

/** What is not as it should be, for people. */
class Failed extends Error {}

/** Why this library cannot do it. */
class Unsupported extends Error {}

function expect(what, found, wanted) {
  if (!isDeepStrictEqual(found, wanted)) {
    throw new Failed(`${what} is ${JSON.stringify(found)} instead of ${JSON.stringify(wanted)}`);
  }
}

const text = message => message.body.toString();

/** The call must be refused with this status code of the protocol. */
async function refused(what, wanted, call) {
  try {
    await call();
  } catch (error) {
    if (error.code !== wanted) {
      throw new Failed(`${what} was refused with ${error.name}: ${error.message} instead of code ${wanted}`);
    }
    return;
  }
  throw new Failed(`${what} was not refused`);
}

class Stage {
  #deadline;
  #clients = [];

  constructor(parsed, name, limit) {
    this.parsed = parsed;
    this.topic = `${parsed.topic}-${name}`;
    this.group = this.topic;
    this.#deadline = performance.now() + limit;
  }

  producer(check) {
    return this.start(() => new Producer({ ...options(this.parsed), topics: [this.topic], checker: check && { check } }));
  }

  consumer({ expression = FilterExpression.SUB_ALL, topic = this.topic, group = this.group } = {}) {
    return this.start(() => new SimpleConsumer({
      ...options(this.parsed),
      consumerGroup: group,
      subscriptions: new Map([[topic, expression]]),
      awaitDuration: WAIT_MS,
      // A refusal is to be seen as it is.
      maxRetryAttempts: 1,
    }));
  }

  push(consume) {
    return this.start(() => new PushConsumer({
      ...options(this.parsed),
      consumerGroup: this.group,
      subscriptions: new Map([[this.topic, FilterExpression.SUB_ALL]]),
      messageListener: { consume },
    }));
  }

  async start(create) {
    const client = await started(create, this.parsed);
    this.#clients.push(client);
    return client;
  }

  message(body, fields = {}) {
    return { topic: this.topic, body: Buffer.from(body), ...fields };
  }

  async wait(what, condition) {
    while (!condition()) {
      if (performance.now() > this.#deadline) {
        throw new Failed(`waited in vain for ${what()}`);
      }
      await sleep(LOOK_AGAIN_MS);
    }
  }

  /** Messages as they come. */
  async *deliveries(consumer, what, batch = 32) {
    while (performance.now() < this.#deadline) {
      yield* await consumer.receive(batch, INVISIBLE_MS);
    }
    throw new Failed(`waited in vain for ${what()}`);
  }

  async next(consumer, what) {
    for await (const message of this.deliveries(consumer, () => what, 1)) {
      return message;
    }
  }

  /** The messages with these bodies, each of which must come once, and nothing else. */
  async collect(consumer, wanted) {
    const missing = new Set(wanted);
    const got = new Map();
    for await (const message of this.deliveries(consumer, () => [...missing].join(', '))) {
      const body = text(message);
      if (!missing.delete(body)) {
        throw new Failed(`${body} came ${got.has(body) ? 'again' : 'although it should not'}`);
      }
      got.set(body, message);
      await consumer.ack(message);
      if (missing.size === 0) {
        break;
      }
    }
    return got;
  }

  /** Says goodbye; an unreachable broker must not hold this up. */
  async close() {
    const goodbyes = this.#clients.map(client => client.shutdown().catch(() => {}));
    await Promise.race([Promise.all(goodbyes), sleep(2000)]);
  }
}

module.exports = { Failed, INVISIBLE_MS, Stage, Unsupported, WAIT_MS, expect, refused, text };
