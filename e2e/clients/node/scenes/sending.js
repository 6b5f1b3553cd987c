'use strict';
// Ways to send.

const { Unsupported, expect, text } = require('../stage');

/** Each send is answered before the next; everything that was said about a message arrives with it. */
async function normal(stage) {
  const consumer = await stage.consumer();
  const producer = await stage.producer();
  const sent = new Map();
  for (let number = 0; number < 10; number++) {
    const body = `normal-${number}`;
    const properties = new Map([['number', String(number)]]);
    const receipt = await producer.send(stage.message(body, { tag: 'blue', keys: [body], properties }));
    sent.set(body, receipt.messageId);
  }
  for (const [body, message] of await stage.collect(consumer, sent.keys())) {
    expect(`message id of ${body}`, message.messageId, sent.get(body));
    expect(`tag of ${body}`, message.tag, 'blue');
    expect(`keys of ${body}`, message.keys, [body]);
    expect(`properties of ${body}`, Object.fromEntries(message.properties), { number: body.slice('normal-'.length) });
    expect(`attempt of ${body}`, message.deliveryAttempt, 1);
    expect(`corruption of ${body}`, message.corrupted ?? false, false);
  }
}

/** Many sends under way at once. */
async function asynchronous(stage) {
  const consumer = await stage.consumer();
  const producer = await stage.producer();
  const bodies = Array.from({ length: 32 }, (_, number) => `async-${number}`);
  const receipts = await Promise.all(bodies.map(body => producer.send(stage.message(body))));
  expect('number of message ids', new Set(receipts.map(receipt => receipt.messageId)).size, bodies.length);
  await stage.collect(consumer, bodies);
}

async function oneWay() {
  throw new Unsupported('the library has no send without an answer');
}

/** Of what waits, the larger priority comes first. */
async function priority(stage) {
  const consumer = await stage.consumer();
  const producer = await stage.producer();
  for (const level of [1, 9, 5]) {
    await producer.send(stage.message(`priority-${level}`, { priority: level }));
  }
  const came = [];
  for await (const message of stage.deliveries(consumer, () => `more than ${came}`, 1)) {
    came.push(text(message));
    await consumer.ack(message);
    if (came.length === 3) {
      break;
    }
  }
  expect('the order', came, ['priority-9', 'priority-5', 'priority-1']);
}

module.exports = { normal, async: asynchronous, 'one-way': oneWay, priority };
