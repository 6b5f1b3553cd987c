'use strict';
// The official client, with what it knows but does not tell: the queue of a message, requests for one send.
// Nothing is changed in what goes over the wire.

const { AsyncLocalStorage } = require('node:async_hooks');
const { setTimeout: sleep } = require('node:timers/promises');
const { FilterExpression, Producer, PushConsumer, SimpleConsumer } = require('rocketmq-client-nodejs');
const { FilterType } = require('rocketmq-client-nodejs/proto/apache/rocketmq/v2/definition_pb');
const { version } = require('rocketmq-client-nodejs/package.json');

// Refused for what the request is: no repetition of it can have been stored.
const CERTAIN_REFUSALS = [[40000, 40199], [40300, 40499], [41300, 41399], [43100, 43199]];

// Between two attempts to start.
const START_PAUSE = 500;

const sends = new AsyncLocalStorage();

const quiet = { info() {}, warn() {}, error() {}, debug() {}, close() {} };
const logger = process.env.MAINSTAY_CLIENT_DEBUG ? console : quiet;

function options(parsed) {
  return { endpoints: parsed.endpoints, sslEnabled: parsed.tls, logger };
}

/** As the user that the command line names, if any. */
function userOptions(parsed) {
  const { accessKey, secretKey: accessSecret } = parsed;
  return { ...options(parsed), sessionCredentials: accessKey ? { accessKey, accessSecret } : undefined };
}

/** The broker may still be on its way up. A client of the library starts once, so each attempt has its own. */
async function started(create, parsed) {
  const deadline = performance.now() + parsed.startTimeout * 1000;
  for (;;) {
    const client = create();
    try {
      await client.startup();
      return client;
    } catch (error) {
      await client.shutdown().catch(() => {});
      if (performance.now() > deadline) {
        throw error;
      }
      await sleep(START_PAUSE);
    }
  }
}

function createProducer(parsed, check) {
  const producer = new Producer({
    ...userOptions(parsed), topics: [parsed.topic], checker: check && { check },
  });
  const manager = producer.rpcClientManager;
  const send = manager.sendMessage.bind(manager);
  manager.sendMessage = (endpoints, request, duration) => {
    const current = sends.getStore();
    if (current) {
      current.tries += 1;
    }
    return send(endpoints, request, duration);
  };
  return producer;
}

function newProducer(parsed, check) {
  return started(() => createProducer(parsed, check), parsed);
}

/** Sends, and returns the receipt or the error together with the number of requests. */
function sendCounted(producer, message, transaction) {
  const current = { tries: 0 };
  return sends.run(current, async () => {
    try {
      return { receipt: await producer.send(message, transaction), tries: current.tries };
    } catch (error) {
      return { error, tries: current.tries };
    }
  });
}

/** Remembers by receipt handle which queue a message came from, until it is asked for. */
function observeQueues(consumer) {
  const manager = consumer.rpcClientManager;
  const receive = manager.receiveMessage.bind(manager);
  const queues = new Map();
  manager.receiveMessage = async (endpoints, request, duration) => {
    const responses = await receive(endpoints, request, duration);
    const broker = request.getMessageQueue().getBroker().getName();
    for (const response of responses) {
      const properties = response.getMessage()?.getSystemProperties();
      if (properties) {
        queues.set(properties.getReceiptHandle(), `${broker}/${properties.getQueueId()}`);
      }
    }
    return responses;
  };
  consumer.takeQueue = message => {
    const queue = queues.get(message.receiptHandle);
    queues.delete(message.receiptHandle);
    return queue;
  };
}

function subscriptions(parsed) {
  const type = parsed.sql ? FilterType.SQL : FilterType.TAG;
  return new Map([[parsed.topic, new FilterExpression(parsed.filter, type)]]);
}

function createSimpleConsumer(parsed) {
  const consumer = new SimpleConsumer({
    ...userOptions(parsed),
    consumerGroup: parsed.group,
    subscriptions: subscriptions(parsed),
    awaitDuration: parsed.wait * 1000,
    // Each try of the library's own would be a receive that no history has.
    maxRetryAttempts: 1,
  });
  observeQueues(consumer);
  return consumer;
}

function newSimpleConsumer(parsed) {
  return started(() => createSimpleConsumer(parsed), parsed);
}

function createPushConsumer(parsed, consume) {
  const consumer = new PushConsumer({
    ...userOptions(parsed),
    consumerGroup: parsed.group,
    subscriptions: subscriptions(parsed),
    messageListener: { consume },
  });
  observeQueues(consumer);
  return consumer;
}

function newPushConsumer(parsed, consume) {
  return started(() => createPushConsumer(parsed, consume), parsed);
}

/** Code, text, and whether the operation certainly had no effect. */
function explain(error) {
  const code = error.code;
  const text = `${error.name ?? 'Error'}: ${error.message ?? error}`;
  const certain = CERTAIN_REFUSALS.some(([from, to]) => code >= from && code <= to);
  return { code, text, certain };
}

module.exports = {
  explain, newProducer, newPushConsumer, newSimpleConsumer, options, sendCounted, started, version,
};
