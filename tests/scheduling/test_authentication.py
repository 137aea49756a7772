"""Who may call a webhook, over real HTTP."""

import base64
from collections.abc import Callable

import jwt
import pytest
from django.contrib.auth.models import User
from django.test import Client
from pytest_django import Settings

from scheduling.models import JobRun
from tests.scheduling.calls import PATH, Calls, bearer, error_of, signature
from tests.scheduling.work import Work


def test_a_call_without_a_credential_is_told_what_to_send(calls: Calls, work: Work) -> None:
    for method in ("GET", "POST", "PUT", "DELETE"):
        answer = calls.call(method)
        assert answer.status_code == 401
        assert answer.headers["WWW-Authenticate"] == 'Bearer realm="SoloBoard"'
        assert "Send 'Authorization: Bearer <CRON_SECRET>'" in error_of(answer)
    assert work.runs == []


@pytest.mark.parametrize(
    "authorization",
    [
        "Bearer made-up-wrong-secret",
        "Bearer",
        "bearer x",
        "Bearer\tmade-up-wrong-secret",
        "Bearer made-up-wrong-secr\xe9t",
        "Bearer " + "x" * 5000,
        "Basic bWFkZS11cC13cm9uZy1zZWNyZXQ6",
    ],
)
def test_a_wrong_secret_is_refused_and_told_nothing(
    calls: Calls, work: Work, caplog: pytest.LogCaptureFixture, authorization: str
) -> None:
    encoded = authorization.encode("latin-1")
    answer = calls.call(headers={"Authorization": encoded})  # type: ignore[dict-item]
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"] == 'Bearer realm="SoloBoard"'
    assert "CRON_SECRET of this installation" in error_of(answer)
    assert work.runs == []
    sent = authorization.partition(" ")[2]
    for text in (answer.text, caplog.text):
        assert not (len(sent) > 1 and sent in text)


def test_a_part_of_the_secret_is_not_enough(calls: Calls, work: Work, settings: Settings) -> None:
    whole = settings.CRON_SECRET
    for secret in (whole[:1], whole[:-1], whole[1:], whole + "x", whole.upper()):
        assert calls.call(headers=bearer(secret)).status_code == 401
    assert work.runs == []


def test_no_secret_is_good_while_none_is_set(calls: Calls, work: Work, settings: Settings) -> None:
    settings.CRON_SECRET = ""
    try:
        assert calls.call(headers={"Authorization": "Bearer"}).status_code == 401
    finally:
        settings.CRON_SECRET = "made-up-cron-secret-for-tests"
    assert work.runs == []


def test_the_right_secret_runs_the_job(calls: Calls, work: Work) -> None:
    assert calls.with_secret(body={"action": "work"}).status_code == 200
    run = JobRun.objects.get()
    assert (run.status, run.trigger, run.caller) == ("succeeded", "api", "Bearer")
    assert (run.message_id, run.signature_id) == ("", "")


def test_headers_of_qstash_mean_nothing_without_its_signature(calls: Calls, work: Work) -> None:
    headers = {**bearer(), "Upstash-Message-Id": "msg_1", "Upstash-Retried": "2"}
    for _ in range(2):
        assert calls.call(headers=headers).status_code == 200
    assert len(work.runs) == 2
    assert {(run.message_id, run.attempt) for run in JobRun.objects.all()} == {("", 1)}


@pytest.mark.parametrize("key", ["QSTASH_CURRENT_SIGNING_KEY", "QSTASH_NEXT_SIGNING_KEY"])
def test_a_signature_of_either_key_runs_the_job(
    calls: Calls, work: Work, settings: Settings, key: str
) -> None:
    headers = {"Upstash-Signature": signature(key=getattr(settings, key))}
    assert calls.deliver("msg_1", headers=headers).status_code == 200


def unsigned() -> str:
    _, claims, _ = signature().split(".")
    none = base64.urlsafe_b64encode(b'{"alg":"none","typ":"JWT"}').decode().rstrip("=")
    return f"{none}.{claims}."


def for_another_address() -> str:
    return signature(path="/api/cron/sync-sites")


def for_the_host_of_the_server() -> str:
    claims = jwt.decode(signature(), options={"verify_signature": False})
    claims["sub"] = f"http://localhost{PATH}"
    return jwt.encode(claims, "made-up-current-signing-key-for-tests")


@pytest.mark.parametrize(
    ("token", "reason"),
    [
        (unsigned, "alg value is not allowed"),
        (lambda: signature(key="made-up-key-of-somebody-else-entirely"), "neither the current nor"),
        (lambda: signature(age_s=400), "Signature has expired"),
        (lambda: signature(age_s=-60), "not yet valid (iat)"),
        (lambda: signature(b"something else"), "the body is not the one that was signed"),
        (for_another_address, "it is for 'http://testserver.example/api/cron/sync-sites', not for"),
        (for_the_host_of_the_server, "it is for 'http://localhost/api/tests/work', not for"),
        (lambda: "garbage", "Not enough segments"),
        (lambda: "", "Not enough segments"),
    ],
)
def test_a_bad_signature_is_refused_for_a_reason_that_the_log_alone_tells(
    calls: Calls,
    work: Work,
    caplog: pytest.LogCaptureFixture,
    token: Callable[[], str],
    reason: str,
) -> None:
    forged = token()
    # The right secret beside it does not help: a signature was there, and it was bad.
    for secret in ({}, bearer()):
        answer = calls.deliver("msg_1", headers={"Upstash-Signature": forged, **secret})
        assert answer.status_code == 401
        assert answer.headers["WWW-Authenticate"] == 'Bearer realm="SoloBoard"'
        assert error_of(answer).startswith("The QStash signature is not valid for this address.")
        assert reason not in answer.text
    assert f"QStash signature refused on {PATH} (message msg_1): " in caplog.text
    assert reason in caplog.text
    assert not forged or forged not in caplog.text
    assert work.runs == []
    assert not JobRun.objects.exists()


def test_a_tampered_body_is_refused(calls: Calls, work: Work) -> None:
    headers = {"Upstash-Signature": signature(b'{"size": 1}')}
    assert calls.deliver("msg_1", body=b'{"size": 2}', headers=headers).status_code == 401
    assert work.runs == []


def test_a_query_that_was_not_published_is_refused(calls: Calls, work: Work) -> None:
    headers = {"Upstash-Signature": signature()}
    assert calls.deliver("msg_1", path=PATH + "?a=1", headers=headers).status_code == 401
    assert calls.deliver("msg_2", path=PATH + "?a=1").status_code == 200


@pytest.mark.parametrize("message_id", ["msg_of_an_attacker", ""])
def test_a_captured_signature_runs_nothing_again_under_another_message(
    calls: Calls, work: Work, message_id: str
) -> None:
    captured = {"Upstash-Signature": signature()}
    first = calls.deliver("msg_1", headers=captured)
    replayed = calls.deliver(message_id, headers=captured)
    assert (replayed.status_code, replayed.json()) == (200, first.json())
    assert len(work.runs) == 1


def test_a_delivery_without_a_message_id_runs(calls: Calls, work: Work) -> None:
    for _ in range(2):
        assert calls.call(headers={"Upstash-Signature": signature()}).status_code == 200
    assert len(work.runs) == 2


def test_a_stale_secret_beside_a_good_signature_is_told_to_the_log(
    calls: Calls, work: Work, caplog: pytest.LogCaptureFixture
) -> None:
    headers = bearer("made-up-secret-of-last-year")
    assert calls.deliver("msg_1", headers=headers).status_code == 200
    assert "QStash forwards an old CRON_SECRET to /api/tests/work" in caplog.text
    assert "made-up-secret-of-last-year" not in caplog.text


def test_long_and_odd_headers_of_a_delivery_are_recorded_within_their_columns(
    calls: Calls, work: Work
) -> None:
    headers = {
        "Upstash-Schedule-Id": "s" * 3000,
        "SoloBoard-Caller": "c" * 3000,
        "SoloBoard-Trigger": "nonsense",
    }
    for retried in ("-1", "x", "99999", "1.5", "9999", ""):
        message_id = f"m{retried}" * 1000
        answer = calls.deliver(message_id, headers={**headers, "Upstash-Retried": retried})
        assert answer.status_code == 200
    attempts = JobRun.objects.order_by("attempt").values_list("attempt", flat=True)
    assert list(attempts) == [1, 1, 1, 1, 1, 10_000]


# --- Staff with a session -------------------------------------------------------------------------


@pytest.fixture
def session_of(calls: Calls) -> Callable[[User], dict[str, str]]:
    """The headers of a browser that is logged in, with the CSRF token and without it."""

    def log_in(user: User) -> dict[str, str]:
        client = Client()
        client.force_login(user)
        return {"Cookie": f"sessionid={client.cookies['sessionid'].value}"}

    return log_in


@pytest.fixture
def csrf(calls: Calls) -> dict[str, str]:
    token = calls.call("GET", "/admin/login/").cookies["csrftoken"]
    return {"X-CSRFToken": token, "Cookie": f"csrftoken={token}"}


def both(session: dict[str, str], csrf: dict[str, str]) -> dict[str, str]:
    return {**session, **csrf, "Cookie": f"{session['Cookie']}; {csrf['Cookie']}"}


SessionOf = Callable[[User], dict[str, str]]


def test_staff_run_a_job_with_their_csrf_token(
    calls: Calls, work: Work, session_of: SessionOf, csrf: dict[str, str]
) -> None:
    session = session_of(User.objects.create_user("alice", is_staff=True))
    assert calls.call(headers=both(session, csrf)).status_code == 200
    run = JobRun.objects.get()
    assert (run.trigger, run.caller) == ("api", "alice")


def test_staff_without_their_csrf_token_are_refused(
    calls: Calls, work: Work, session_of: SessionOf, csrf: dict[str, str]
) -> None:
    session = session_of(User.objects.create_user("alice", is_staff=True))
    answer = calls.call(headers=session)
    assert answer.status_code == 403
    assert error_of(answer).startswith("CSRF Failed")
    assert work.runs == []


def test_a_get_of_staff_only_looks(calls: Calls, work: Work, session_of: SessionOf) -> None:
    session = session_of(User.objects.create_user("alice", is_staff=True))
    answer = calls.call("GET", headers=session)
    assert answer.status_code == 200
    assert [job["key"] for job in answer.json()["jobs"]] == ["tests-work"]
    page = calls.call("GET", headers={**session, "Accept": "text/html"})
    assert page.status_code == 200
    assert "Work" in page.text
    assert work.runs == []


def test_a_user_who_is_no_staff_is_refused(
    calls: Calls, work: Work, session_of: SessionOf, csrf: dict[str, str]
) -> None:
    session = session_of(User.objects.create_user("bob"))
    for method in ("GET", "POST"):
        answer = calls.call(method, headers=both(session, csrf))
        assert answer.status_code == 403
        assert error_of(answer)
    assert work.runs == []


def test_a_staff_member_who_left_is_refused(
    calls: Calls, work: Work, session_of: SessionOf, csrf: dict[str, str]
) -> None:
    user = User.objects.create_user("alice", is_staff=True)
    session = session_of(user)
    User.objects.update(is_active=False)
    assert calls.call(headers=both(session, csrf)).status_code == 401
    assert work.runs == []


def test_init_is_for_the_bearer_secret_and_not_for_qstash(calls: Calls) -> None:
    assert calls.call("GET", "/api/init").status_code == 401
    assert calls.deliver("msg_1", "POST", "/api/init").status_code == 401
    # Port 1 is closed, so QStash is away, which is no fault of ours.
    answer = calls.with_secret("GET", "/api/init")
    assert answer.status_code == 502
    assert "cannot be reached" in error_of(answer)


def test_a_form_of_staff_runs_the_job_as_it_is(
    calls: Calls, work: Work, session_of: SessionOf, csrf: dict[str, str]
) -> None:
    session = session_of(User.objects.create_user("alice", is_staff=True))
    cookies = {"Cookie": both(session, csrf)["Cookie"]}
    form = f"csrfmiddlewaretoken={csrf['X-CSRFToken']}".encode()
    headers = {**cookies, "Content-Type": "application/x-www-form-urlencoded"}
    assert calls.call(body=form, headers=headers).status_code == 200
    assert work.runs[0].payload == {}


def test_a_form_that_is_too_large_or_of_another_kind_is_refused(
    calls: Calls, work: Work, session_of: SessionOf, csrf: dict[str, str]
) -> None:
    session = session_of(User.objects.create_user("alice", is_staff=True))
    headers = both(session, csrf)
    form = {**headers, "Content-Type": "application/x-www-form-urlencoded"}
    too_large = calls.call(body=b"x" * 11_000_000, headers=form)
    assert (too_large.status_code, "exceeded" in error_of(too_large)) == (400, True)
    too_many = calls.call(body=b"x=1&" * 1001, headers=form)
    assert (too_many.status_code, "exceeded" in error_of(too_many)) == (400, True)
    multipart = calls.call(body=b"--", headers={**headers, "Content-Type": "multipart/form-data"})
    assert (multipart.status_code, "multipart" in error_of(multipart)) == (415, True)
    assert work.runs == []
