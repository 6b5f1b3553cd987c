'use strict';
// Messages that wait for a decision.

const { TransactionResolution } = require('rocketmq-client-nodejs/proto/apache/rocketmq/v2/definition_pb');
const { expect, text } = require('../stage');

// The library begins no transaction without a checker.
const undecided = async () => TransactionResolution.TRANSACTION_RESOLUTION_UNSPECIFIED;

async function half(stage, producer, body) {
  const transaction = producer.beginTransaction();
  const receipt = await producer.send(stage.message(body), transaction);
  return { transaction, receipt };
}

/** Nobody sees the message before it is committed; then it comes, under its own id. */
async function commit(stage) {
  const consumer = await stage.consumer();
  const producer = await stage.producer(undecided);
  const waiting = await half(stage, producer, 'waits');
  const other = await half(stage, producer, 'committed at once');
  await other.transaction.commit();
  await stage.collect(consumer, ['committed at once']);
  await waiting.transaction.commit();
  const message = (await stage.collect(consumer, ['waits'])).get('waits');
  expect('message id', message.messageId, waiting.receipt.messageId);
}

/** What was rolled back never comes. */
async function rollback(stage) {
  const consumer = await stage.consumer();
  const producer = await stage.producer(undecided);
  const dropped = await half(stage, producer, 'rolled back');
  await dropped.transaction.rollback();
  const kept = await half(stage, producer, 'committed');
  await kept.transaction.commit();
  await stage.collect(consumer, ['committed']);
}

/** A producer that does not decide is asked, and its answer counts. */
async function checkBack(stage) {
  const asked = [];
  const consumer = await stage.consumer();
  const producer = await stage.producer(async message => {
    asked.push(text(message));
    return text(message) === 'to commit' ? TransactionResolution.COMMIT : TransactionResolution.ROLLBACK;
  });
  await half(stage, producer, 'to roll back');
  await half(stage, producer, 'to commit');
  await stage.wait(() => 'the broker to ask about both', () => new Set(asked).size === 2);
  await stage.collect(consumer, ['to commit']);
  return { asked: asked.length };
}

module.exports = { commit, rollback, 'check-back': checkBack };
