'use strict';
// Ways to consume, and what becomes of messages that nobody can consume.

const { ConsumeResult } = require('rocketmq-client-nodejs');
const { Failed, expect, refused, text } = require('../stage');

const INVALID_RECEIPT_HANDLE = 40013;
const ATTEMPTS = 3;
const WHOLE = [0, 1, 2, 3, 4, 5];

/** The listener gets every message, once. */
async function push(stage) {
  const came = [];
  await stage.push(async message => {
    came.push(`${text(message)} attempt ${message.deliveryAttempt}`);
    return ConsumeResult.SUCCESS;
  });
  const producer = await stage.producer();
  const bodies = Array.from({ length: 20 }, (_, number) => `push-${number}`);
  for (const body of bodies) {
    await producer.send(stage.message(body));
  }
  await stage.wait(() => `${bodies.length} messages, ${came.length} came`, () => came.length >= bodies.length);
  expect('what came', came.sort(), bodies.map(body => `${body} attempt 1`).sort());
}

/** The consumer chooses when a message comes again; the receipt of the earlier delivery is void then. */
async function simple(stage) {
  const consumer = await stage.consumer();
  const producer = await stage.producer();
  await producer.send(stage.message('once more'));
  const first = await stage.next(consumer, 'the message');
  expect('attempt', first.deliveryAttempt, 1);
  await consumer.changeInvisibleDuration(first, 2000);
  const changed = performance.now();
  const second = await stage.next(consumer, 'the message again');
  const away = Math.round(performance.now() - changed);
  if (away < 1900) {
    throw new Failed(`the message came again after ${away} ms instead of 2 s`);
  }
  expect('attempt', second.deliveryAttempt, 2);
  await refused('an acknowledgement of the first delivery', INVALID_RECEIPT_HANDLE, () => consumer.ack(first));
  await consumer.ack(second);
  return { away_ms: away };
}

/** Notes what a FIFO listener is given, and that a message group has one message at a time. */
class Ordered {
  came = { a: [], b: [], c: [] };
  overlap = undefined;
  #busy = new Set();

  constructor(stage, fails) {
    this.stage = stage;
    this.fails = fails;
  }

  async consume(message) {
    const [group, number] = text(message).split('-');
    if (this.#busy.has(group)) {
      this.overlap = `${text(message)} came while another message of its group was being consumed`;
    }
    this.#busy.add(group);
    this.came[group].push(Number(number));
    await new Promise(resolve => setImmediate(resolve));
    this.#busy.delete(group);
    const times = this.came[group].filter(other => other === Number(number)).length;
    return this.fails(text(message), times) ? ConsumeResult.FAILURE : ConsumeResult.SUCCESS;
  }

  async play(wanted) {
    const producer = await this.stage.producer();
    for (const number of WHOLE) {
      for (const group of Object.keys(this.came)) {
        await producer.send(this.stage.message(`${group}-${number}`, { messageGroup: group }));
      }
    }
    await this.stage.push(message => this.consume(message));
    const enough = () => Object.keys(wanted).every(group => this.came[group].length >= wanted[group].length);
    await this.stage.wait(() => `${JSON.stringify(wanted)}, came ${JSON.stringify(this.came)}`, enough);
    expect('what came', this.came, wanted);
    expect('overlap', this.overlap, undefined);
  }
}

/** Each message group in its order, one at a time, whatever fails in between; others go on meanwhile. */
async function fifo(stage) {
  const ordered = new Ordered(stage, (body, times) => body === 'a-2' && times === 1);
  await ordered.play({ a: [0, 1, 2, 2, 3, 4, 5], b: WHOLE, c: WHOLE });
}

function deadLetters(stage) {
  return stage.consumer({ topic: `%DLQ%${stage.group}`, group: `${stage.group}-reader` });
}

/** A message that always fails goes to the dead letters after its last attempt, and the next of its group come. */
async function fifoDeadLetter(stage) {
  const dead = await deadLetters(stage);
  const ordered = new Ordered(stage, body => body === 'a-2');
  await ordered.play({ a: [0, 1, ...Array(ATTEMPTS).fill(2), 3, 4, 5], b: WHOLE, c: WHOLE });
  await stage.collect(dead, ['a-2']);
}

/** A message that always fails comes as often as its group allows, then it is a dead letter. */
async function deadLetter(stage) {
  const attempts = [];
  const dead = await deadLetters(stage);
  await stage.push(async message => {
    attempts.push(message.deliveryAttempt);
    return ConsumeResult.FAILURE;
  });
  const producer = await stage.producer();
  const properties = new Map([['number', '1']]);
  const receipt = await producer.send(stage.message('hopeless', { tag: 'blue', properties }));
  const letter = (await stage.collect(dead, ['hopeless'])).get('hopeless');
  expect('attempts', attempts, [1, 2, 3]);
  expect('message id', letter.messageId, receipt.messageId);
  expect('tag', letter.tag, 'blue');
  expect('property', letter.properties.get('number'), '1');
}

module.exports = { push, simple, fifo, 'fifo-dead-letter': fifoDeadLetter, 'dead-letter': deadLetter };
