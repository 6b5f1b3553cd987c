'use strict';
// Access control: the broker that --access-endpoints names knows the user of --access-key.

const { FilterExpression, Producer, SimpleConsumer } = require('rocketmq-client-nodejs');
const { options } = require('../library');
const { Failed, WAIT_MS, refused } = require('../stage');

const UNAUTHORIZED = 40100;

/** The right key works for what its user may do; a wrong key, no key and a topic of others are refused. */
async function access(stage) {
  const { accessEndpoints, accessKey, secretKey } = stage.parsed;
  if (!accessEndpoints || !accessKey || !secretKey) {
    throw new Failed('--access-endpoints, --access-key and --secret-key are needed');
  }
  const right = { accessKey, accessSecret: secretKey };
  const common = sessionCredentials => ({ ...options(stage.parsed), endpoints: accessEndpoints, sessionCredentials });
  const producer = credentials => new Producer(common(credentials));
  const consumer = await stage.start(() => new SimpleConsumer({
    ...common(right),
    consumerGroup: stage.group,
    subscriptions: new Map([[stage.topic, FilterExpression.SUB_ALL]]),
    awaitDuration: WAIT_MS,
  }));
  const sender = await stage.start(() => producer(right));
  await sender.send(stage.message('allowed'));
  await stage.collect(consumer, ['allowed']);

  const attempt = (credentials, topic) => async () => {
    // Without a topic it starts, so that the refusal is seen as it is.
    const client = producer(credentials);
    try {
      await client.startup();
      await client.send({ ...stage.message('forbidden'), topic });
    } finally {
      await client.shutdown().catch(() => {});
    }
  };
  const wrong = { accessKey, accessSecret: `${secretKey}x` };
  const unknown = { accessKey: 'nobody', accessSecret: secretKey };
  await refused('a wrong secret', UNAUTHORIZED, attempt(wrong, stage.topic));
  await refused('an unknown user', UNAUTHORIZED, attempt(unknown, stage.topic));
  await refused('no key', UNAUTHORIZED, attempt(undefined, stage.topic));
  await refused('a topic of others', UNAUTHORIZED, attempt(right, `${stage.topic}-of-others`));
}

module.exports = { access };
