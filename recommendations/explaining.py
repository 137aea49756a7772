"""Why an item is, or is not, in a user's list: for the people who run the place."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from django.utils import timezone

from recommendations import candidates, personal, versions
from recommendations.candidates import Candidate
from recommendations.catalogue import Catalogue, query_vector
from recommendations.models import ContentItem, ItemSignal, UserAction
from recommendations.own_actions import read_own, seen
from recommendations.personal import Person
from recommendations.readers import Reader, find_reader
from recommendations.serving import Answer, titles_of

WEIGHTS_SHOWN = 10


@dataclass(frozen=True, kw_only=True)
class Part:
    """One of the numbers that add up to a score."""

    name: str
    value: float


@dataclass(frozen=True, kw_only=True)
class Weight:
    """What one own item adds to the taste for the item. share: may be below 0."""

    item_id: str
    title: str
    action: str
    share: float


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """verdict: the answer in a sentence. rules: what keeps the item out of every list of the user's.

    parts, score: empty and None where the list is not personal. rank: of how many the score is the
        how-manieth, seen items left out; None for an item that a rule keeps out.
    popularity, trending: how many like it, and how many of late.
    """

    item_id: str
    title: str
    verdict: str
    is_listed: bool
    rules: list[str]
    parts: list[Part]
    score: float | None
    rank: tuple[int, int] | None
    popularity: float
    trending: float
    weights: list[Weight]


def explain(user_id: str, item_id: str, answer: Answer) -> Explanation:
    """answer: the user's list as it was served just now."""
    content = ContentItem.objects.filter(external_id=item_id).first()
    rules = list(_rules(user_id, item_id, content))
    person = _person(find_reader(user_id))
    candidate = _candidate(person, item_id) if person else None
    rank = _rank(person, candidate) if person and candidate and not rules else None
    signal = ItemSignal.objects.filter(item_id=item_id).first()
    place = next(
        (place for place, entry in enumerate(answer.items, 1) if entry.item_id == item_id), None
    )
    return Explanation(
        item_id=item_id,
        title=content.title if content else "",
        verdict=_verdict(place, rules, rank, answer),
        is_listed=place is not None,
        rules=rules,
        parts=_parts(candidate) if candidate else [],
        score=candidate.score if candidate else None,
        rank=rank,
        popularity=signal.popularity if signal else 0.0,
        trending=signal.trending if signal else 0.0,
        weights=_weights(person, item_id) if person else [],
    )


def _rules(user_id: str, item_id: str, content: ContentItem | None) -> Iterator[str]:
    now = timezone.now()
    if content is None:
        yield "There is no content with this id."
    elif content.hidden:
        yield "It is hidden."
    if content and content.expires_at and content.expires_at <= now:
        yield f"It expired on {_date(content.expires_at)}."
    if content and content.published_at > now:
        yield f"It will be published on {_date(content.published_at)}."
    own = UserAction.objects.filter(user_id=user_id, item_id=item_id).order_by("-occurred_at")
    for action, occurred_at in own.values_list("action", "occurred_at")[:1]:
        word = "dismissed" if action == "dismiss" else "seen"
        yield f"The user has {word} it: {action} on {_date(occurred_at)}, {own.count()} actions in all."


def _date(instant: datetime) -> str:
    return f"{instant:%d %b %Y, %H:%M} UTC"


def _person(reader: Reader) -> Person | None:
    """The user as the active version sees them, or None where the list is not personal."""
    version = versions.active()
    if not reader.is_personal or reader.embedding is None or version is None:
        return None
    if version.version_id != reader.version_id:
        return None
    return personal.look_at(reader.user_id, reader.embedding, version)


def _candidate(person: Person, item_id: str) -> Candidate:
    (found,) = candidates.named(
        [item_id], person.user_id, person.embedding, person.version, person.together
    )
    return found


def _parts(candidate: Candidate) -> list[Part]:
    parts = [
        Part(name="Taste, by the factors", value=candidate.taste),
        Part(name="Goes with the user's items", value=candidate.together),
        Part(name="Popularity, which counts against it", value=candidate.popularity),
        Part(name="Trend", value=candidate.trend),
    ]
    return [part for part in parts if part.value or "items" not in part.name]


def _rank(person: Person, candidate: Candidate) -> tuple[int, int]:
    """The place of a score among everything that may be listed and that the user has not seen."""
    catalogue = Catalogue.read(person.version.version_id)
    scores = catalogue.with_terms(person.version.model.parameters) @ query_vector(person)
    scores = scores + person.together.of_all(catalogue.item_ids)
    own = seen(read_own([person.user_id])[person.user_id])
    scores[
        [catalogue.columns[item_id] for item_id in own if item_id in catalogue.columns]
    ] = -np.inf
    mine = scores[catalogue.columns[candidate.item_id]]
    return 1 + int(np.count_nonzero(scores > mine)), int(np.count_nonzero(scores > -np.inf))


def _weights(person: Person, item_id: str) -> list[Weight]:
    """The own items that say most about the item, for it or against it."""
    vectors = personal.vectors_of(person.version, [item_id])
    shares = person.contributions([item_id], vectors)[:, 0]
    order = np.argsort(-np.abs(shares), kind="stable")[:WEIGHTS_SHOWN]
    titles = titles_of([person.own.item_ids[row] for row in order])
    return [
        Weight(
            item_id=person.own.item_ids[row],
            title=titles.get(person.own.item_ids[row], ""),
            action=person.own.actions[row] or "dismiss",
            share=float(shares[row]),
        )
        for row in order
    ]


def _verdict(
    place: int | None, rules: list[str], rank: tuple[int, int] | None, answer: Answer
) -> str:
    if place is not None:
        return f"It is number {place} of the list: {answer.items[place - 1].reason}."
    if rules:
        return "It is not in the list, and may not be."
    if rank is None:
        return f"It is not among the first {len(answer.items)} of what is trending."
    number, count = rank
    if number <= len(answer.items):
        return (
            f"Its score is number {number} of {count}, but a topic has its share of the list already, or "
            "the place is kept for a new item."
        )
    return f"It is not in the list: its score is number {number} of {count}."
