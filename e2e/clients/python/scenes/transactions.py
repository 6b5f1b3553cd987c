"""Messages that wait for a decision."""

from library import TransactionResolution
from stage import expect, text


def undecided(_message):
    return TransactionResolution.TRANSACTION_RESOLUTION_UNSPECIFIED


def half(stage, producer, body):
    transaction = producer.begin_transaction()
    receipt = producer.send(stage.message(body), transaction)
    return transaction, receipt


def commit(stage):
    """Nobody sees the message before it is committed; then it comes, under its own id."""
    consumer = stage.consumer()
    producer = stage.producer(check=undecided)
    waiting, receipt = half(stage, producer, "waits")
    other, _ = half(stage, producer, "committed at once")
    other.commit()
    stage.collect(consumer, ["committed at once"])
    waiting.commit()
    message = stage.collect(consumer, ["waits"])["waits"]
    expect("message id", message.message_id, receipt.message_id)


def rollback(stage):
    """What was rolled back never comes."""
    consumer = stage.consumer()
    producer = stage.producer(check=undecided)
    dropped, _ = half(stage, producer, "rolled back")
    dropped.rollback()
    kept, _ = half(stage, producer, "committed")
    kept.commit()
    stage.collect(consumer, ["committed"])


def check_back(stage):
    """A producer that does not decide is asked, and its answer counts."""
    asked = []

    def check(message):
        body = text(message)
        stage.changed(lambda: asked.append(body))
        return TransactionResolution.COMMIT if body == "to commit" else TransactionResolution.ROLLBACK

    consumer = stage.consumer()
    producer = stage.producer(check=check)
    half(stage, producer, "to roll back")
    half(stage, producer, "to commit")
    stage.wait("the broker to ask about both", lambda: len(set(asked)) == 2)
    stage.collect(consumer, ["to commit"])
    return {"asked": len(asked)}
