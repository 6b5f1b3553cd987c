'use strict';
// Ten messages there and back: does this client work with that broker at all?

const crypto = require('node:crypto');
const { isDeepStrictEqual } = require('node:util');
const { newProducer, newSimpleConsumer } = require('./library');

const MESSAGES = 10;
const LIMIT_MS = 30000;

function judge(message, body, messageId, run) {
  const expected = {
    'message id': [message.messageId, messageId],
    tag: [message.tag, 'smoke'],
    keys: [message.keys, [body]],
    properties: [Object.fromEntries(message.properties), { run }],
    attempt: [message.deliveryAttempt, 1],
    corrupted: [message.corrupted ?? false, false],
  };
  for (const [name, [found, wanted]] of Object.entries(expected)) {
    if (!isDeepStrictEqual(found, wanted)) {
      throw new Error(`${name} of ${body} is ${JSON.stringify(found)} instead of ${JSON.stringify(wanted)}`);
    }
  }
}

async function receiveAll(consumer, parsed, run, missing) {
  const deadline = performance.now() + LIMIT_MS;
  while (missing.size > 0) {
    if (performance.now() > deadline) {
      const bodies = [...missing.keys()].join(', ');
      throw new Error(`${missing.size} of ${MESSAGES} messages did not come within ${LIMIT_MS} ms: ${bodies}`);
    }
    for (const message of await consumer.receive(parsed.batch, parsed.invisible * 1000)) {
      const body = message.body.toString();
      if (missing.has(body)) {
        judge(message, body, missing.get(body), run);
        missing.delete(body);
      }
      await consumer.ack(message);
    }
  }
}

async function smoke(parsed) {
  const run = crypto.randomBytes(4).toString('hex');
  const consumer = await newSimpleConsumer({ ...parsed, group: parsed.group ?? `smoke-${run}` });
  const producer = await newProducer(parsed);
  const sent = new Map();
  for (let number = 0; number < MESSAGES; number++) {
    const body = `smoke-${run}-${number}`;
    const message = { topic: parsed.topic, tag: 'smoke', keys: [body], properties: new Map([['run', run]]) };
    const receipt = await producer.send({ ...message, body: Buffer.from(body) });
    sent.set(body, receipt.messageId);
  }
  await receiveAll(consumer, parsed, run, sent);
  console.log(`node: sent, received and acknowledged ${MESSAGES} messages`);
  return consumer;
}

module.exports = { smoke };
