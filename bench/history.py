"""What a year of history costs: the database time of the dashboard, and bytes for each site.

.venv/bin/python bench/history.py [--sites 1000] [--rounds 7]

Each site has a year of days, 90 days of hours and two days of points, stored as they come in: all
sites of one hour after all sites of the hour before, so that a site's rows lie far apart.
"""

import argparse
import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.figures import interleaved, print_table, spread
from bench.servers import board

DAYS, DAYS_WITH_HOURS, DAYS_WITH_POINTS = 365, 90, 2
#: Half of the sites are businesses, half are pages, by their id.
POINTS = """
INSERT INTO site_snapshots (site_id, taken_at, state, reason, data)
SELECT site.id, taken_at + site.id * interval '10 ms', 'up', '', jsonb_build_object(
    'updatedAt', taken_at, 'health', 'up', 'reason', '', 'latency_ms', 40 + (random() * 80)::int,
    'http_status', 200, 'tls_expires_at', '2027-02-01T00:00:00.000Z', 'tls_days_left', 70,
    'visitors', CASE WHEN site.id %% 2 = 0 THEN (extract(epoch FROM taken_at)::int / 60) %% 1440 END,
    'sales', CASE WHEN site.id %% 2 = 0 THEN (extract(epoch FROM taken_at)::int / 3600) %% 24 END,
    'revenue_minor', CASE WHEN site.id %% 2 = 0 THEN jsonb_build_object(
        'EUR', 1900 * ((extract(epoch FROM taken_at)::int / 3600) %% 24)) ELSE '{}' END,
    'metrics', '{}'::jsonb, 'notices', '[]'::jsonb)
FROM generate_series(%s::timestamptz, %s::timestamptz, interval '15 minutes') AS taken_at,
    monitored_sites AS site
ORDER BY taken_at, site.id
"""
#: Latencies in so many buckets, more or fewer by site and time.
COUNTS = """
    (SELECT jsonb_object_agg(36 + number, 1 + (number * 7 + site.id) %% {most})
     FROM generate_series(
        0, {fewest} + (site.id + extract(epoch FROM taken_at)::bigint / 3600) %% {spread}
     ) AS number)
"""
HOURS = f"""
INSERT INTO site_hours (
    site_id, begins_at, attempts, good, down, latency_counts, visitors, sales, revenue_minor
)
SELECT site.id, taken_at, 4, 4, 0, {COUNTS.format(most=2, fewest=0, spread=4)},
    CASE WHEN site.id %% 2 = 0 THEN 20 + (random() * 20)::int END,
    CASE WHEN site.id %% 2 = 0 THEN (random() * 3)::int END,
    CASE WHEN site.id %% 2 = 0 THEN jsonb_build_object('EUR', (random() * 9000)::int) END
FROM generate_series(%s::timestamptz, %s::timestamptz, interval '1 hour') AS taken_at,
    monitored_sites AS site
ORDER BY taken_at, site.id
"""  # noqa: S608 - put together from constants.
#: The latencies of a day fill more buckets than those of an hour.
DAILY = f"""
INSERT INTO site_days (
    site_id, day, attempts, good, down, latency_counts, visitors, sales, revenue_minor, settled
)
SELECT site.id, taken_at::date, 96, 95, 1, {COUNTS.format(most=12, fewest=8, spread=16)},
    CASE WHEN site.id %% 2 = 0 THEN 500 + (random() * 300)::int END,
    CASE WHEN site.id %% 2 = 0 THEN (random() * 40)::int END,
    CASE WHEN site.id %% 2 = 0 THEN jsonb_build_object('EUR', (random() * 90000)::int) END, true
FROM generate_series(%s::timestamptz, %s::timestamptz, interval '1 day') AS taken_at,
    monitored_sites AS site
ORDER BY taken_at, site.id
"""  # noqa: S608
TABLES = ("site_snapshots", "site_hours", "site_days")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sites", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=7)
    given = parser.parse_args()
    with board(redis=True):
        logging.disable(logging.INFO)
        fill(given.sites)
        print_bytes(given.sites)
        measure(given.sites, given.rounds)


# --- A year ---------------------------------------------------------------------------------------


def fill(sites: int) -> None:
    from django.db import connection
    from django.utils import timezone

    from sites.models import MonitoredSite

    now = timezone.now()
    page: dict[str, Any] = {
        "latency_ms": 80,
        "visitors": None,
        "sales": None,
        "revenue_minor": {},
        "metrics": {},
    }
    business = {**page, "visitors": 480, "sales": 20, "revenue_minor": {"EUR": 38_000}}
    MonitoredSite.objects.bulk_create(
        MonitoredSite(
            name=f"site {number}", platform="uptime", state="up", last_sync_at=now, last_attempt_at=now,
            last_snapshot=page if number % 2 else business, past_due_at=None,
        )
        for number in range(1, sites + 1)
    )  # fmt: skip
    today = now.replace(hour=0, minute=0, second=0, microsecond=0)
    this_hour = now.replace(minute=0, second=0, microsecond=0)
    with connection.cursor() as cursor:
        for statement, begin, end in (
            (DAILY, today - timedelta(days=DAYS - 1), today),
            (HOURS, this_hour - timedelta(days=DAYS_WITH_HOURS), this_hour),
            (POINTS, this_hour - timedelta(days=DAYS_WITH_POINTS), now),
        ):
            cursor.execute(statement, [begin, end])
        cursor.execute("VACUUM ANALYZE")


def print_bytes(sites: int) -> None:
    from django.db import connection

    rows = []
    with connection.cursor() as cursor:
        for table in TABLES:
            cursor.execute(
                f"SELECT pg_total_relation_size(%s), pg_indexes_size(%s), count(*) FROM {table}",  # noqa: S608
                [table, table],
            )
            size, indexes, count = cursor.fetchone()
            rows.append([table, count // sites, size // sites, indexes // sites, size // count])
    rows.append(["together", *(sum(row[column] for row in rows) for column in (1, 2, 3)), ""])
    print_table(
        "A site with a year of history",
        ["table", "rows", "bytes", "of them indexes", "bytes a row"],
        [[row[0], *(f"{cell:,}" if cell != "" else "" for cell in row[1:])] for row in rows],
    )


# --- The time of the database ---------------------------------------------------------------------


class DatabaseTime:
    """Counts statements and what they take, until their rows have been read."""

    def __init__(self) -> None:
        self.statements = 0
        self.seconds = 0.0

    def __call__(
        self, execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Any
    ) -> Any:
        started = time.perf_counter()
        try:
            return execute(sql, params, many, context)
        finally:
            self.statements += 1
            self.seconds += time.perf_counter() - started


@contextmanager
def database_time() -> Iterator[DatabaseTime]:
    from django.db import connection

    spent = DatabaseTime()
    with connection.execute_wrapper(spent):
        yield spent


def backend_ms() -> float:
    """What PostgreSQL's process for this connection has used of a processor, which other work on the
    machine does not change. Linux alone tells; NaN elsewhere.
    """
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        (pid,) = cursor.fetchone()
    spent = Path(f"/proc/{pid}/schedstat")
    return int(spent.read_text().split()[0]) / 1e6 if spent.exists() else float("nan")


def measure(sites: int, rounds: int) -> None:
    from django.utils import timezone

    from sites.history.reading import last_days
    from sites.models import MonitoredSite
    from soloboard import dashboard
    from soloboard.pipeline import pipeline

    now: datetime = timezone.now()
    site = MonitoredSite.objects.order_by("pk")[sites // 2]
    work: dict[str, Callable[[], object]] = {
        "dashboard, all its figures": lambda: [
            dashboard.site_cards(now), dashboard.last_sync(), dashboard.sync_health(now),
            pipeline(now), dashboard.job_rows(),
        ],
        "its cards alone": lambda: dashboard.site_cards(now),
        "page of a site, 365 days": lambda: last_days(site, 365, now),
    }  # fmt: skip
    statements: dict[str, int] = {}
    of_a_processor: dict[str, list[float]] = {name: [] for name in work}

    def milliseconds(name: str) -> float:
        before_ms = backend_ms()
        with database_time() as spent:
            work[name]()
        of_a_processor[name].append(backend_ms() - before_ms)
        statements[name] = spent.statements
        return spent.seconds * 1000

    for name in work:
        milliseconds(name)  # The first finds nothing in memory.
    results = interleaved({name: lambda name=name: milliseconds(name) for name in work}, rounds)  # type: ignore[misc]
    print_table(
        f"Database time, {sites} sites with a year of history",
        ["", "milliseconds", "of a processor", "statements"],
        [
            [name, spread(values), spread(of_a_processor[name][1:]), str(statements[name])]
            for name, values in results.items()
        ],
    )
    print_roll_up(sites)


def print_roll_up(sites: int) -> None:
    """The hourly work, with an hour of new points, and again with nothing new."""
    from django.utils import timezone

    from scheduling.run import Run
    from sites.history.upkeep import keep_up

    rows = []
    for name in ("first, with an hour of points", "again"):
        run = Run(
            id=0, payload={}, deadline=time.monotonic() + 300, report=lambda done, total: None
        )
        started = time.perf_counter()
        with database_time() as spent:
            keep_up(run)
        rows.append([name, f"{time.perf_counter() - started:.2f}", str(spent.statements)])
    print_table(
        f"Rolling up and pruning {sites} sites at {timezone.now():%H:%M}",
        ["", "seconds", "statements"],
        rows,
    )


if __name__ == "__main__":
    main()
