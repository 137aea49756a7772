import pytest
from hypothesis import given, settings

from scheduling.tariffs import (
    TARIFFS,
    DoesNotFit,
    Volume,
    fit,
    messages_per_day,
    share_of,
    slowed,
    volume_of,
)
from tests.scheduling.test_cron import expressions, with_seconds

FREE = TARIFFS["free"]


@pytest.mark.parametrize(
    ("expression", "runs", "minute_calls", "days"),
    [
        ("*/5 * * * * *", 17_280, 1_440, 365),
        ("* * * * * *", 86_400, 1_440, 365),
        ("*/15 * * * *", 96, 0, 365),
        ("0 */15 * * * *", 96, 0, 365),
        ("0 * * * *", 24, 0, 365),
        ("@daily", 1, 0, 365),
        ("0,30 * 9-17 * * 1-5", 1_080, 540, 261),
        ("0 0 1 * *", 1, 0, 12),
    ],
)
def test_a_cadence_costs_a_message_for_each_run_and_each_call_of_a_minute(
    expression: str, runs: int, minute_calls: int, days: int
) -> None:
    assert volume_of(expression) == Volume(runs=runs, minute_calls=minute_calls, days=days)
    assert messages_per_day(expression) == runs + minute_calls


@pytest.mark.parametrize(
    ("plan", "expression", "share", "held"),
    [
        ("free", "*/5 * * * * *", "18.7 times the 1,000 a day", False),
        ("free", "*/15 * * * *", "9.6% of 1,000 a day", True),
        ("free", "0 */6 * * *", "0.4% of 1,000 a day", True),
        ("pay-as-you-go", "*/5 * * * * *", "$5.69 a month", True),
        ("pay-as-you-go", "*/15 * * * *", "$0.03 a month", True),
        ("pay-as-you-go", "@daily", "less than $0.01 a month", True),
        ("fixed-1m", "*/5 * * * * *", "1.87% of 1,000,000 a day", True),
        ("fixed-10m", "*/5 * * * * *", "0.187% of 10,000,000 a day", True),
        ("fixed-10m", "@daily", "less than 0.1% of 10,000,000 a day", True),
    ],
)
def test_the_share_of_each_plan_is_told(plan: str, expression: str, share: str, held: bool) -> None:
    assert share_of(TARIFFS[plan], volume_of(expression)) == (share, held)


def test_each_step_of_the_ladder_is_slower() -> None:
    steps, cron = ["*/5 * * * * *"], slowed("*/5 * * * * *")
    while cron:
        steps.append(cron)
        cron = slowed(cron)
    assert steps[:9] == [
        "*/5 * * * * *", "*/10 * * * * *", "*/15 * * * * *", "*/30 * * * * *", "* * * * *", "*/2 * * * *",
        "*/5 * * * *", "*/10 * * * *", "*/15 * * * *",
    ]  # fmt: skip
    assert steps[-2:] == ["0 */12 * * *", "0 0 * * *"]


@pytest.mark.parametrize(
    ("expression", "slower"),
    [
        ("*/5 * 9-17 * * MON-FRI", "*/10 * 9-17 * * MON-FRI"),
        ("*/30 9-17 * * MON-FRI", "0 9-17 * * MON-FRI"),
        ("0 9-17 * * MON-FRI", None),
        ("0 */2 * * *", "0 */3 * * *"),
        ("30 7 * * *", None),
        ("@hourly", None),
    ],
)
def test_slowing_keeps_the_days_and_the_hours_of_work(expression: str, slower: str | None) -> None:
    assert slowed(expression) == slower


@settings(deadline=None)
@given(expressions | with_seconds)
def test_what_is_slowed_costs_less_and_is_slowed_no_further_than_to_nothing(
    expression: str,
) -> None:
    slower = slowed(expression)
    assert slower is None or 0 < messages_per_day(slower) < messages_per_day(expression)


PROPOSED = {
    "actions": "*/5 * * * * *",
    "embeddings": "0 */2 * * *",
    "warming": "0 * * * *",
    "cold-start": "0 */6 * * *",
    "sync": "*/15 * * * *",
}


def total(cadences: dict[str, str]) -> int:
    return sum(map(messages_per_day, cadences.values()))


def test_the_most_expensive_is_slowed_until_the_free_plan_holds_all() -> None:
    chosen = fit(FREE, PROPOSED)
    assert chosen == {**PROPOSED, "actions": "*/2 * * * *"}
    assert total(chosen) == 856


def test_other_schedules_leave_less_to_choose_from() -> None:
    assert fit(FREE, PROPOSED, others=500) == {**PROPOSED, "actions": "*/10 * * * *"}
    assert total(fit(FREE, PROPOSED, others=850)) <= 50


@pytest.mark.parametrize("plan", ["pay-as-you-go", "fixed-1m", "fixed-10m"])
def test_the_paid_plans_hold_what_is_proposed(plan: str) -> None:
    assert fit(TARIFFS[plan], PROPOSED) == PROPOSED


def test_what_cannot_fit_is_said_with_its_figures() -> None:
    with pytest.raises(DoesNotFit, match=r"1,440 messages a day, and Free has 1,000"):
        fit(FREE, {}, others=1440)
