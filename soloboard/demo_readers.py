"""A made-up magazine and its readers, so that recommendations have something to learn from.

Readers have a favourite topic and a second one, and now and then look at anything. What they do
goes the way of every application's actions: into the queue, as JSON.
"""

import random
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

PREFIX = "demo-"
READERS = 80
HISTORY = timedelta(days=30)
VISITS_IN_HISTORY = 12
READ_IN_A_VISIT = 4
#: How a reader chooses: the favourite, the second topic, anything.
TASTE = (0.7, 0.2, 0.1)
KINDS = {"view": 6, "click": 3, "like": 2, "save": 1, "dismiss": 1}
TOPICS = {
    "gardens": "pruning roses, composting leaves, watering beds, sowing lettuce, dividing perennials, "
    "grafting apples, edging lawns, storing bulbs, training vines, mulching paths",
    "kitchen": "baking rye bread, roasting roots, sharpening knives, pickling beans, stretching noodles, "
    "browning butter, steaming fish, proving brioche, tempering chocolate, freezing herbs",
    "cycling": "truing wheels, fitting saddles, climbing passes, packing panniers, winter tyres, "
    "cleaning chains, riding in groups, night lights, cobbled roads, mending punctures",
    "astronomy": "finding Saturn, dark skies, polishing mirrors, drawing the Moon, meteor showers, "
    "double stars, aligning mounts, variable stars, comets at dawn, star clusters",
    "music": "tuning pianos, reading scores, choosing strings, singing in tune, practising scales, "
    "rosin and bows, brass mutes, playing by ear, keeping time, carrying cellos",
    "sailing": "tying bowlines, reading charts, reefing early, patching sails, tidal streams, "
    "anchoring well, harbour lights, heaving to, splicing rope, fog signals",
}


def articles(now: datetime) -> Iterator[dict[str, Any]]:
    """Yield the magazine's articles as `/api/items` takes them, one published every few hours."""
    subjects = [
        (topic, text.strip()) for topic, texts in TOPICS.items() for text in texts.split(",")
    ]
    random.Random(1).shuffle(subjects)  # noqa: S311 - a made-up magazine
    for number, (topic, subject) in enumerate(subjects):
        yield {
            "external_id": f"{PREFIX}{topic}-{number}",
            "title": f"{subject.capitalize()}: what matters",
            "text": f"Notes on {subject}, from the desk for {topic}.",
            "topics": [topic],
            "published_at": (now - HISTORY * (1 - number / len(subjects))).isoformat(),
        }


def history(items: list[str], now: datetime) -> list[dict[str, Any]]:
    """Return what all readers did in the last weeks, as producers write it."""
    luck = random.Random(2)  # noqa: S311
    return [
        action
        for reader in range(READERS)
        for _ in range(VISITS_IN_HISTORY)
        for action in _visit(reader, items, now - HISTORY * luck.random(), luck)
    ]


def visits(items: list[str], now: datetime, readers: int) -> list[dict[str, Any]]:
    """Return what a few readers do in the minute before now."""
    luck = random.Random()  # noqa: S311
    return [
        action
        for reader in luck.sample(range(READERS), readers)
        for action in _visit(reader, items, now - timedelta(seconds=60 * luck.random()), luck)
    ]


def _visit(
    reader: int, items: list[str], at: datetime, luck: random.Random
) -> Iterator[dict[str, Any]]:
    topics = list(TOPICS)
    first, second = topics[reader % len(topics)], topics[(reader * 7 + 3) % len(topics)]
    for _ in range(luck.randint(1, READ_IN_A_VISIT)):
        [topic] = luck.choices((first, second, ""), TASTE)
        wanted = [item for item in items if item.startswith(f"{PREFIX}{topic}")]
        yield {
            "user_id": f"reader-{reader}",
            "item_id": luck.choice(wanted or items),
            "action": luck.choices(list(KINDS), list(KINDS.values()))[0],
            "occurred_at": at.isoformat(),
        }
