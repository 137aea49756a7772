"""Content as applications send it: checked entry by entry, written in bulk."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rest_framework import serializers
from rest_framework.validators import UniqueValidator

from recommendations.models import ContentItem

#: Rows in one statement.
CHUNK_SIZE = 1_000


class ContentItemSerializer(serializers.ModelSerializer):
    """An item. What is left out keeps what is stored, or for a new item its default.

    published_at: when it may first be recommended; by default now.
    expires_at: from when on it may not be recommended any more; by default never.
    """

    class Meta:
        model = ContentItem
        fields = [
            "external_id", "title", "text", "topics", "published_at", "expires_at", "hidden", "created_at",
            "updated_at",
        ]  # fmt: skip
        read_only_fields = ["created_at", "updated_at"]

    def get_fields(self) -> dict[str, serializers.Field]:
        fields = super().get_fields()
        # An item that is known is updated; looking for it would cost a query for every entry.
        fields["external_id"].validators = [
            validator
            for validator in fields["external_id"].validators
            if not isinstance(validator, UniqueValidator)
        ]
        return fields

    def validate_external_id(self, external_id: str) -> str:
        known = self.instance.external_id if isinstance(self.instance, ContentItem) else None
        if known not in (None, external_id):
            raise serializers.ValidationError("An item keeps its id; add another item.")
        return external_id

    def update(self, instance: ContentItem, validated_data: dict[str, Any]) -> ContentItem:
        for name, value in validated_data.items():
            setattr(instance, name, value)
        # Only what was given: a second request may change the other fields at this moment.
        instance.save(update_fields=[*validated_data, "updated_at"])
        return instance


@dataclass(frozen=True, kw_only=True)
class Problem:
    """Why an entry was not saved. index: its place among the entries."""

    index: int
    reason: str


def upsert(entries: Sequence[Any]) -> list[Problem]:
    """Insert or update items by their ids; of two entries for one item the later one wins.

    Returns what is wrong with the entries that were not saved. The number of SQL statements depends
    on the number of chunks.
    """
    serializer = ContentItemSerializer()
    by_id: dict[str, dict[str, Any]] = defaultdict(dict)
    problems = []
    for index, entry in enumerate(entries):
        try:
            given = serializer.run_validation(entry)
        except serializers.ValidationError as error:
            problems.append(Problem(index=index, reason=_in_words(error.detail)))
        else:
            by_id[given["external_id"]].update(given)
    save(by_id.values())
    return problems


def save(entries: Iterable[Mapping[str, Any]]) -> None:
    """Write checked entries, no two of one item."""
    # A statement updates the same columns in all its rows.
    by_fields: dict[frozenset[str], list[ContentItem]] = defaultdict(list)
    for given in entries:
        by_fields[frozenset(given)].append(ContentItem(**given))
    for names, items in by_fields.items():
        ContentItem.objects.bulk_create(
            # In one order for all, so that two requests never wait for each other crosswise.
            sorted(items, key=lambda item: item.external_id),
            batch_size=CHUNK_SIZE,
            update_conflicts=True,
            unique_fields=["external_id"],
            update_fields=[*sorted(names - {"external_id"}), "updated_at"],
        )


def _in_words(detail: Any) -> str:
    """What a serializer complains of, in one line."""
    if isinstance(detail, dict):
        parts = (
            _in_words(inner) if name == "non_field_errors" else f"{name}: {_in_words(inner)}"
            for name, inner in detail.items()
        )
        return "; ".join(parts)
    return " ".join(map(_in_words, detail)) if isinstance(detail, list) else str(detail)
