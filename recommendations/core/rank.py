"""Lists from files: the product's own training, fold-in, filter and ranking, without Django.

python -m recommendations.core.rank --train TRAIN.tsv --users USERS.txt --out RANKED.tsv
"""

import argparse
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from recommendations.core.actions import Actions
from recommendations.core.arrays import IntArray
from recommendations.core.model import learn, lists, trending_list
from recommendations.core.parameters import Parameters
from recommendations.core.replay import replays_for
from recommendations.core.text import ItemText, tf_idf
from recommendations.core.tsv import (
    MalformedFile,
    Numbering,
    read_actions,
    read_items,
    read_users,
    write_lists,
)
from recommendations.core.tuning import tune


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command. Returns the exit status: 0, or 2 for a file that cannot be used."""
    given = parse_arguments(arguments)
    try:
        rank(given)
    except (MalformedFile, OSError) as error:
        sys.stderr.write(f"rank: {error}\n")
        return 2
    return 0


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m recommendations.core.rank", description=(__doc__ or "").splitlines()[0]
    )
    add = parser.add_argument
    add("--train", type=Path, required=True, help="user, item, unix seconds[, weight]")
    add("--users", type=Path, required=True, help="whose lists to make, one a line")
    add("--items", type=Path, help="item, text, topics separated by |")
    add("--factors", type=_positive, default=64, help="length of the vectors")
    add("--topk", type=_positive, default=100, help="length of the lists")
    add("--at", type=float, metavar="SECONDS", help="the present; without it, the last action")
    add("--no-time", action="store_true", help="ignore when actions happened")
    add("--out", type=Path, required=True, help="user, items separated by spaces")
    return parser.parse_args(arguments)


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return number


def rank(given: argparse.Namespace) -> None:
    """Read, choose the parameters by replay, learn, rank, write."""
    started = time.perf_counter()

    def log(line: str) -> None:
        sys.stderr.write(f"[{time.perf_counter() - started:6.1f} s] {line}\n")

    users, items = Numbering(), Numbering()
    actions = at_present(read_actions(given.train, users, items), given)
    wanted = read_users(given.users)
    features = None
    if given.items is not None:
        texts = read_items(given.items)
        ordered = [texts.get(name, ItemText(text="")) for name in _all_names(items, texts)]
        features = tf_idf(ordered)
        actions = replace(actions, n_items=len(items))
    log(f"{len(actions)} actions of {actions.n_users} users with {actions.n_items} items")
    named = [user for user in dict.fromkeys(wanted) if user in users]
    rows = np.array([users.row(user) for user in named], dtype=np.int64)
    parameters = tune(replays_for(actions, rows), Parameters(factors=given.factors), log=log)
    model = learn(actions, parameters, at_s=present_s(actions, given), features=features)
    log("learned")
    made: dict[str, IntArray] = {}
    for places, found in lists(model, actions, rows, given.topk):
        made.update((named[place], listed) for place, listed in zip(places, found, strict=True))
    write_lists(given.out, wanted, made, trending_list(model, given.topk), items)
    log(f"ranked {len(made)} users, {len(wanted) - len(made)} more get what is trending")


def _all_names(items: Numbering, texts: Mapping[str, ItemText]) -> list[str]:
    """All items in the order of their numbers, those without actions last."""
    for name in texts:
        items.row(name)
    return items.names()


def at_present(actions: Actions, given: argparse.Namespace) -> Actions:
    """The actions as the options say: without times, or only those up to the present."""
    if given.no_time or actions.times_s is None or len(np.unique(actions.times_s)) < 2:
        return actions.without_times()
    return actions if given.at is None else actions.take(actions.times_s <= given.at)


def present_s(actions: Actions, given: argparse.Namespace) -> float:
    """When the lists are made, in unix seconds; 0 without times."""
    if given.at is not None:
        return float(given.at)
    times_s = actions.times_s
    return float(times_s.max()) if times_s is not None and len(times_s) else 0.0


if __name__ == "__main__":
    sys.exit(main())
