'use strict';
// Subscriptions to a part of a topic.

const { FilterExpression } = require('rocketmq-client-nodejs');
const { FilterType } = require('rocketmq-client-nodejs/proto/apache/rocketmq/v2/definition_pb');
const { expect, refused } = require('../stage');

const ILLEGAL_FILTER_EXPRESSION = 40010;

/** One of several tags, and nothing else. */
async function tag(stage) {
  const consumer = await stage.consumer({ expression: new FilterExpression('red || blue') });
  const producer = await stage.producer();
  const wanted = [];
  for (let number = 0; number < 4; number++) {
    await producer.send(stage.message(`green-${number}`, { tag: 'green' }));
    await producer.send(stage.message(`untagged-${number}`));
    for (const colour of ['red', 'blue']) {
      await producer.send(stage.message(`${colour}-${number}`, { tag: colour }));
      wanted.push(`${colour}-${number}`);
    }
  }
  for (const [body, message] of await stage.collect(consumer, wanted)) {
    expect(`tag of ${body}`, message.tag, body.split('-')[0]);
  }
}

/** Properties as numbers and texts, tags, absent properties; an expression that makes no sense is refused. */
async function sql(stage) {
  const expression = "price > 10 AND region IN ('north', 'south') AND (TAGS = 'red' OR owner IS NULL)";
  const consumer = await stage.consumer({ expression: new FilterExpression(expression, FilterType.SQL) });
  const producer = await stage.producer();
  const messages = {
    'yes-1': ['red', { price: '10.5', region: 'north', owner: 'a' }],
    'yes-2': ['blue', { price: '100', region: 'south' }],
    'no-cheap': ['red', { price: '9', region: 'north' }],
    'no-region': ['red', { price: '11', region: 'east' }],
    'no-owner': ['blue', { price: '11', region: 'north', owner: 'a' }],
    'no-price': ['red', { region: 'north' }],
    'yes-3': ['red', { price: '11', region: 'south' }],
  };
  for (const [body, [colour, fields]] of Object.entries(messages)) {
    await producer.send(stage.message(body, { tag: colour, properties: new Map(Object.entries(fields)) }));
  }
  await stage.collect(consumer, ['yes-1', 'yes-2', 'yes-3']);
  await refused('an expression that makes no sense', ILLEGAL_FILTER_EXPRESSION, async () => {
    const other = await stage.consumer({ expression: new FilterExpression('price >', FilterType.SQL) });
    await other.receive(1, 30000);
  });
}

module.exports = { tag, sql };
