'use strict';
// Messages that are delivered at a time.

const { Failed, expect, text } = require('../stage');

// A machine at work on many things may be late by so much; never early.
const LATE_MS = 3000;

/** Whole seconds, which every library knows. */
function inSeconds(seconds) {
  return new Date((Math.floor(Date.now() / 1000) + 1 + seconds) * 1000);
}

/** Not a millisecond early, and not much too late. */
async function delay(stage) {
  const consumer = await stage.consumer();
  const producer = await stage.producer();
  const due = new Map([3, 1, 2].map(number => [`delay-${number}`, inSeconds(number)]));
  for (const [body, deliveryTimestamp] of due) {
    await producer.send(stage.message(body, { deliveryTimestamp }));
  }
  const late = [];
  for await (const message of stage.deliveries(consumer, () => `more than ${late.length} messages`)) {
    const body = text(message);
    const after = Date.now() - due.get(body).getTime();
    if (after < 0 || after > LATE_MS) {
      throw new Failed(`${body} came ${after} ms after its time`);
    }
    late.push(after);
    expect(`delivery time of ${body}`, message.deliveryTimestamp.getTime(), due.get(body).getTime());
    await consumer.ack(message);
    if (late.length === due.size) {
      break;
    }
  }
  return { late_ms: Math.max(...late) };
}

/** What was recalled never comes; what has come cannot be recalled. */
async function recall(stage) {
  const consumer = await stage.consumer();
  const producer = await stage.producer();
  const takenBack = await producer.send(stage.message('recalled', { deliveryTimestamp: inSeconds(2) }));
  const kept = await producer.send(stage.message('kept', { deliveryTimestamp: inSeconds(3) }));
  const { messageId } = await producer.recallMessage(stage.topic, takenBack.recallHandle);
  expect('message id of the recalled message', messageId, takenBack.messageId);
  await stage.collect(consumer, ['kept']);
  try {
    await producer.recallMessage(stage.topic, kept.recallHandle);
  } catch {
    // Which code it is differs.
    return;
  }
  throw new Failed('a message that was delivered could be recalled');
}

module.exports = { delay, recall };
