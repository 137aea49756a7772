"""Figures of replays as HTML tables for the admin."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

METRICS = {
    "hit_10": "HR@10",
    "ndcg_10": "NDCG@10",
    "recall_20": "Recall@20",
    "ndcg_100": "NDCG@100",
}
#: What a verdict compares, best known first.
COMPARED = ("this version", "last version", "trending")


def verdict_table(figures: Mapping[str, Any]) -> SafeString | str:
    """What a version would have found, and what the others would have."""
    rows = [
        (name, *(f"{figures[name][metric]:.4f}" for metric in METRICS))
        for name in COMPARED
        if name in figures
    ]
    return table(("", *METRICS.values()), rows) if rows else "—"


def replay_table(rows: Sequence[Mapping[str, Any]]) -> SafeString:
    """The table of a nightly replay."""
    header = ("Users", "Number", "Lists", *METRICS.values(), "Coverage", "NDCG@10 over trending")
    return table(
        header,
        [
            (
                row["group"], f"{row['users']:,}", row["method"],
                *(f"{row[metric]:.4f}" for metric in METRICS),
                f"{row['coverage']:.1%}", gain_in_words(row["gain"]),
            )
            for row in rows
        ],
    )  # fmt: skip


def gain_in_words(gain: Sequence[float]) -> str:
    """A mean difference with the bounds of its 95 % interval."""
    mean, low, high = gain
    return f"{mean:+.4f} ({low:+.4f} to {high:+.4f})"


def table(header: Iterable[str], rows: Iterable[Iterable[str]]) -> SafeString:
    """A table whose cells with digits stand to the right."""
    lines = ((_cells(row),) for row in rows)
    return format_html(
        '<table class="figures"><thead><tr>{}</tr></thead><tbody>{}</tbody></table>',
        format_html_join("", '<th scope="col">{}</th>', ((name,) for name in header)),
        format_html_join("", "<tr>{}</tr>", lines),
    )


def _cells(row: Iterable[str]) -> SafeString:
    kinds = (("number" if cell[:1] in "+-0123456789" and cell else "", cell) for cell in row)
    return format_html_join("", '<td class="{}">{}</td>', kinds)
