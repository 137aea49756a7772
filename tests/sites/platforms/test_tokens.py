import asyncio
import threading
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

import pytest

from sites.platforms.tokens import MARGIN, Token, Tokens

NOW = datetime(2026, 2, 7, 10, 30, tzinfo=UTC)
HOUR = timedelta(hours=1)


def giving(*texts: str, at: datetime = NOW) -> Callable[[], Awaitable[Token]]:
    """An exchange that gives these tokens, one after another, each good for an hour."""
    left = iter(texts)

    async def exchange() -> Token:
        await asyncio.sleep(0)
        return Token(text=next(left), expires_at=at + HOUR)

    return exchange


def get(tokens: Tokens, *credentials: str, now: datetime = NOW, text: str) -> str:
    return asyncio.run(tokens.get(*credentials, now=now, exchange=giving(text, at=now))).text


def test_token_is_kept_until_shortly_before_its_end() -> None:
    tokens = Tokens()
    assert get(tokens, "a", text="first") == "first"
    almost = NOW + HOUR - MARGIN
    assert get(tokens, "a", now=almost - timedelta(seconds=1), text="second") == "first"
    assert get(tokens, "a", now=almost, text="second") == "second"


def test_each_credentials_have_a_token_of_their_own() -> None:
    tokens = Tokens()
    assert get(tokens, "a", "b", text="first") == "first"
    assert get(tokens, "ab", text="second") == "second"
    assert get(tokens, "a", "b", text="third") == "first"


def test_exchange_is_made_once_for_all_who_wait() -> None:
    async def run() -> list[Token]:
        tokens, exchange = Tokens(), giving("only")
        return await asyncio.gather(
            *(tokens.get("a", now=NOW, exchange=exchange) for _ in range(9))
        )

    assert {token.text for token in asyncio.run(run())} == {"only"}


def test_failed_exchange_is_tried_again_by_the_next() -> None:
    async def fail() -> Token:
        raise LookupError

    tokens = Tokens()
    with pytest.raises(LookupError):
        asyncio.run(tokens.get("a", now=NOW, exchange=fail))
    assert get(tokens, "a", text="second") == "second"


def test_token_that_is_forgotten_is_exchanged_anew_and_its_successor_is_kept() -> None:
    tokens = Tokens()
    first = asyncio.run(tokens.get("a", now=NOW, exchange=giving("first")))
    tokens.forget("a", token=first)
    assert get(tokens, "a", text="second") == "second"
    tokens.forget("a", token=first)
    assert get(tokens, "a", text="third") == "second"


def test_event_loops_of_several_threads_share_the_tokens() -> None:
    tokens = Tokens()
    texts: list[str] = []
    threads = [
        threading.Thread(target=lambda: texts.append(get(tokens, "a", text="same")))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert texts == ["same"] * 8
    assert get(tokens, "a", text="other") == "same"


def test_ended_tokens_and_ended_loops_leave_nothing_behind() -> None:
    tokens = Tokens()
    for number in range(50):
        get(tokens, str(number), now=NOW + number * HOUR, text="any")
    assert len(tokens._tokens) == 1
    assert len(tokens._locks) <= 1


def test_token_is_not_shown_by_repr() -> None:
    assert "made-up" not in repr(Token(text="made-up", expires_at=NOW))
