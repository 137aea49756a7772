from hypothesis import given, settings
from hypothesis import strategies as st

from qstash_server.dispatch.timetable import Timetable

steps = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.sampled_from("abcdef"), st.integers(0, 20)),
        st.tuples(st.just("discard"), st.sampled_from("abcdef"), st.just(0)),
        st.tuples(st.just("pop"), st.just(""), st.integers(0, 20)),
    ),
    max_size=200,
)


@settings(deadline=None)
@given(steps)
def test_agrees_with_a_plain_dictionary(steps: list[tuple[str, str, int]]) -> None:
    table, model = Timetable(), dict[str, int]()
    for step, key, number in steps:
        if step == "put":
            table.put(key, number)
            model.pop(key, None)
            model[key] = number
        elif step == "discard":
            table.discard(key)
            model.pop(key, None)
        else:
            due = sorted((k for k in model if model[k] <= number), key=lambda k: model[k])
            assert table.pop_due(number, limit=3) == due[:3]
            for popped in due[:3]:
                del model[popped]
        assert len(table) == len(model)
        assert table.next_due_ms() == min(model.values(), default=None)


def test_moving_a_key_for_ever_does_not_grow_the_heap() -> None:
    table = Timetable()
    for due_ms in range(10_000):
        table.put("key", due_ms)
    assert len(table._heap) < 100
