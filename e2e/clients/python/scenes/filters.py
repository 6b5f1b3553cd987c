"""Subscriptions to a part of a topic."""

from library import FilterExpression, FilterType
from stage import expect, refused

ILLEGAL_FILTER_EXPRESSION = 40010


def tag(stage):
    """One of several tags, and nothing else."""
    consumer = stage.consumer(FilterExpression("red || blue"))
    producer = stage.producer()
    for number in range(4):
        producer.send(stage.message(f"green-{number}", tag="green"))
        producer.send(stage.message(f"untagged-{number}"))
        for colour in ("red", "blue"):
            producer.send(stage.message(f"{colour}-{number}", tag=colour))
    wanted = [f"{colour}-{number}" for colour in ("red", "blue") for number in range(4)]
    for body, message in stage.collect(consumer, wanted).items():
        expect(f"tag of {body}", message.tag, body.split("-")[0])


def sql(stage):
    """Properties as numbers and texts, tags, absent properties; an expression that makes no sense is refused."""
    expression = "price > 10 AND region IN ('north', 'south') AND (TAGS = 'red' OR owner IS NULL)"
    consumer = stage.consumer(FilterExpression(expression, FilterType.SQL))
    producer = stage.producer()
    properties = {
        "yes-1": ("red", {"price": "10.5", "region": "north", "owner": "a"}),
        "yes-2": ("blue", {"price": "100", "region": "south"}),
        "no-cheap": ("red", {"price": "9", "region": "north"}),
        "no-region": ("red", {"price": "11", "region": "east"}),
        "no-owner": ("blue", {"price": "11", "region": "north", "owner": "a"}),
        "no-price": ("red", {"region": "north"}),
        "yes-3": ("red", {"price": "11", "region": "south"}),
    }
    for body, (colour, fields) in properties.items():
        producer.send(stage.message(body, tag=colour, properties=fields))
    stage.collect(consumer, ["yes-1", "yes-2", "yes-3"])

    def senseless():
        other = stage.consumer(FilterExpression("price >", FilterType.SQL))
        other.receive(1, 30)

    refused("an expression that makes no sense", ILLEGAL_FILTER_EXPRESSION, senseless)
