"""Ways to send."""

from stage import INVISIBLE, Failed, Unsupported, expect, text


def normal(stage):
    """Each send is answered before the next; everything that was said about a message arrives with it."""
    consumer = stage.consumer()
    producer = stage.producer()
    sent = {}
    for number in range(10):
        body = f"normal-{number}"
        message = stage.message(body, tag="blue", keys=body, properties={"number": str(number)})
        receipt = producer.send(message)
        expect("message id of the receipt", receipt.message_id, message.message_id)
        sent[body] = receipt.message_id
    for body, message in stage.collect(consumer, sent).items():
        expect(f"message id of {body}", message.message_id, sent[body])
        expect(f"tag of {body}", message.tag, "blue")
        expect(f"keys of {body}", message.keys, {body})
        expect(f"properties of {body}", message.properties, {"number": body.removeprefix("normal-")})
        expect(f"attempt of {body}", message.delivery_attempt, 1)
        expect(f"corruption of {body}", message.corrupted, False)


def asynchronous(stage):
    """Many sends under way at once."""
    consumer = stage.consumer()
    producer = stage.producer()
    bodies = [f"async-{number}" for number in range(32)]
    futures = [producer.send_async(stage.message(body)) for body in bodies]
    ids = {future.result(timeout=10).message_id for future in futures}
    expect("number of message ids", len(ids), len(bodies))
    stage.collect(consumer, bodies)


def one_way(_stage):
    raise Unsupported("the library has no send without an answer")


def priority(stage):
    """Of what waits, the larger priority comes first."""
    consumer = stage.consumer()
    producer = stage.producer()
    for level in (1, 9, 5):
        producer.send(stage.message(f"priority-{level}", priority=level))
    came = []
    for message in stage.deliveries(consumer, lambda: f"more than {came}", batch=1):
        came.append(text(message))
        consumer.ack(message)
        if len(came) == 3:
            break
    expect("the order", came, ["priority-9", "priority-5", "priority-1"])
