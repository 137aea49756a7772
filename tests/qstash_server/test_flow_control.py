from dataclasses import replace

import pytest

from qstash_server.errors import BadRequest
from qstash_server.flow_control import FlowControl, FlowKey, parse_flow_control


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, FlowControl(key="k")),
        ("", FlowControl(key="k")),
        (" , ,", FlowControl(key="k")),
        ("parallelism=3", FlowControl(key="k", parallelism=3)),
        ("rate=4", FlowControl(key="k", rate=4)),
        ("ratePerSecond=4", FlowControl(key="k", rate=4)),
        ("rate=4,ratePerSecond=5", FlowControl(key="k", rate=4)),
        ("period=2s", FlowControl(key="k", period_s=2)),
        (
            "parallelism=3, rate=4, period=2s",
            FlowControl(key="k", parallelism=3, rate=4, period_s=2),
        ),
        (
            "Period=1d,RATE=20,Parallelism=10",
            FlowControl(key="k", parallelism=10, rate=20, period_s=86_400),
        ),
        (
            "  parallelism = 3 ,rate= 4,period =1m ",
            FlowControl(key="k", parallelism=3, rate=4, period_s=60),
        ),
        ("rate=1,period=100", FlowControl(key="k", rate=1, period_s=100)),
        ("rate=1,period=7d", FlowControl(key="k", rate=1, period_s=604_800)),
        ("rate=1,period=1h30m3s", FlowControl(key="k", rate=1, period_s=5403)),
        ("rate=1000000", FlowControl(key="k", rate=1_000_000)),
        ("rate=1,rate=2", FlowControl(key="k", rate=2)),
    ],
)
def test_parts_of_the_value(value: str | None, expected: FlowControl) -> None:
    assert parse_flow_control("k", value) == expected


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("3", "rate=X or parallelism=Y"),
        ("rate", "rate=X or parallelism=Y"),
        ("speed=3", "invalid Upstash-Flow-Control-Value part 'speed=3'"),
        ("rate=3;parallelism=2", "invalid rate '3;parallelism=2'"),
        ("rate=", "invalid rate ''"),
        ("rate=0", "invalid rate '0'"),
        ("rate=-1", "invalid rate '-1'"),
        ("rate=1.5", "invalid rate '1.5'"),
        ("rate=\u0661", "invalid rate"),
        ("rate=1000001", "from 1 to 1000000"),
        ("rate=" + "9" * 5000, "invalid rate"),
        ("parallelism=0", "invalid parallelism '0'"),
        ("parallelism=many", "invalid parallelism 'many'"),
        ("rate=1,period=0s", "invalid period '0s'"),
        ("rate=1,period=0", "invalid period '0s'"),
        ("rate=1,period=7d1s", "from 1s to 7d"),
        ("rate=1,period=soon", "invalid period 'soon'"),
        ("rate=1,period=-5s", "invalid period '-5s'"),
    ],
)
def test_bad_value_is_refused_with_the_part_at_fault(value: str, text: str) -> None:
    with pytest.raises(BadRequest) as refusal:
        parse_flow_control("k", value)
    assert text in str(refusal.value)


@pytest.mark.parametrize("key", ["a b", "a/b", "a?b", "a#b", "a%b", "ü", "\n", "k" * 513])
def test_key_that_no_path_could_name_is_refused(key: str) -> None:
    with pytest.raises(BadRequest, match="invalid flow control key"):
        parse_flow_control(key, "rate=1")


@pytest.mark.parametrize("key", ["k", "user:1@example.com", "!~", "k" * 512])
def test_key_may_have_any_other_visible_character(key: str) -> None:
    assert parse_flow_control(key, None) == FlowControl(key=key)


def test_value_needs_a_key_and_neither_is_no_flow_control() -> None:
    assert parse_flow_control(None, None) is None
    with pytest.raises(BadRequest, match="needs Upstash-Flow-Control-Key"):
        parse_flow_control(None, "rate=1")


@pytest.mark.parametrize(
    "flow",
    [
        None,
        FlowControl(key="k", parallelism=1, period_s=9),
        FlowControl(key="k", rate=2),
    ],
)
def test_json_and_back(flow: FlowControl | None) -> None:
    assert FlowControl.from_json(None if flow is None else flow.to_json()) == flow


def test_last_message_decides_all_limits_of_a_key() -> None:
    key = FlowKey(key="k").published(FlowControl(key="k", parallelism=3, rate=4, period_s=2))
    assert (key.max_parallelism, key.max_rate, key.max_rate_period_s) == (3, 4, 2)
    key = key.published(FlowControl(key="k", rate=9))
    assert (key.max_parallelism, key.max_rate, key.max_rate_period_s) == (None, 9, 1)


def test_message_that_names_no_limit_leaves_the_key_as_it_is() -> None:
    key = FlowKey(key="k", parallelism=3, rate=4, period_s=2)
    assert key.published(FlowControl(key="k")) == key
    assert key.published(FlowControl(key="k", period_s=60)) == key


def test_pinned_limits_win_one_by_one_and_those_of_messages_are_kept_below() -> None:
    key = FlowKey(key="k", parallelism=3, rate=4, period_s=2, pinned_parallelism=8)
    assert (key.max_parallelism, key.max_rate, key.max_rate_period_s) == (8, 4, 2)
    key = replace(key, pinned_rate=9, pinned_period_s=60).published(
        FlowControl(key="k", parallelism=1, rate=1, period_s=1)
    )
    assert (key.max_parallelism, key.max_rate, key.max_rate_period_s) == (8, 9, 60)
    key = replace(key, pinned_parallelism=None, pinned_rate=None)
    assert (key.max_parallelism, key.max_rate, key.max_rate_period_s) == (1, 1, 1)
