'use strict';
// Kinds of messages that a producer sends: what goes into the message, what the history tells, what follows a send.

const { TransactionResolution } = require('rocketmq-client-nodejs/proto/apache/rocketmq/v2/definition_pb');
const { explain } = require('./library');

/** The id in a body that one of our producers wrote, else nothing. */
function idIn(body) {
  const end = body.subarray(0, 256).indexOf(10);
  return end > 0 ? body.subarray(0, end).toString('latin1') : undefined;
}

/** The number in an id. */
function numberIn(id) {
  return Number(id.slice(id.lastIndexOf('-') + 1));
}

class Normal {
  /** Whether an acknowledged message has its place in a queue. */
  hasPlace = true;
  /** Answers the broker's questions about transactions. */
  check = undefined;

  constructor(parsed, history, progress) {
    this.parsed = parsed;
    this.history = history;
    this.progress = progress;
  }

  /** Makes the message one of this kind; returns what the history tells about it. */
  prepare(_message, _session, _number) {
    return {};
  }

  /** What the send belongs to, if anything. */
  transaction(_producer) {
    return undefined;
  }

  /** What is still to be done once the message is acknowledged. */
  async after(_producer, _id, _receipt, _transaction) {}

  /** An operation of which only success and failure are known. */
  async told(op, fields, act) {
    const call = this.history.invoke(op, fields);
    try {
      await act();
      this.history.complete(op, call, 'ok');
    } catch (error) {
      const { code, text, certain } = explain(error);
      this.history.complete(op, call, certain ? 'fail' : 'unknown', { code, error: text });
    }
  }
}

class Fifo extends Normal {
  /** A session sends one after the other. */
  prepare(message, session) {
    message.messageGroup = session;
    return { message_group: session };
  }
}

class Delay extends Normal {
  hasPlace = false;

  /** Whole seconds, as every library knows them. */
  prepare(message) {
    message.deliveryTimestamp = new Date((Math.floor(Date.now() / 1000) + 1 + this.parsed.delay) * 1000);
    return { deliver_at: message.deliveryTimestamp.getTime() };
  }
}

/** Every third message is taken back at once. */
class Recall extends Delay {
  async after(producer, id, receipt) {
    if (numberIn(id) % 3 === 0) {
      await this.told('recall', { id }, () => producer.recallMessage(this.parsed.topic, receipt.recallHandle));
    }
  }
}

class Priority extends Normal {
  prepare(message, _session, number) {
    message.priority = number % 10;
    return { priority: message.priority };
  }
}

/** Every fourth message is rolled back, of the others every third is left to the broker's question. */
class Transaction extends Normal {
  hasPlace = false;

  check = async message => {
    const id = idIn(message.body);
    const verdict = this.verdict(id);
    const call = this.history.invoke('decide', { id, verdict });
    if (call === undefined) {
      return TransactionResolution.TRANSACTION_RESOLUTION_UNSPECIFIED;
    }
    this.history.complete('decide', call, 'unknown', { error: "the library answers the broker's question" });
    this.progress.add('asked');
    return verdict === 'commit' ? TransactionResolution.COMMIT : TransactionResolution.ROLLBACK;
  };

  verdict(id) {
    return numberIn(id) % 4 === 0 ? 'rollback' : 'commit';
  }

  prepare() {
    return { transaction: true };
  }

  transaction(producer) {
    return producer.beginTransaction();
  }

  async after(_producer, id, _receipt, transaction) {
    const verdict = this.verdict(id);
    if (verdict === 'rollback' || numberIn(id) % 3 !== 0) {
      await this.told('decide', { id, verdict }, () => transaction[verdict]());
    }
  }
}

const KINDS = { normal: Normal, fifo: Fifo, delay: Delay, recall: Recall, transaction: Transaction, priority: Priority };

module.exports = { KINDS, idIn, numberIn };
