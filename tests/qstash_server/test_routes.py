import pytest

from tests.qstash_server.running import Running


@pytest.mark.parametrize(
    "path", ["/index.html", "/v1/keys", "/v2", "/v2/nothing", "/V2/keys", "//v2/keys"]
)
def test_unknown_path_is_404(server: Running, path: str) -> None:
    answer = server.request("GET", path)
    assert (answer.status, answer.json) == (404, {"error": f"no such path: {path}"})


@pytest.mark.parametrize("path", ["/v2/publish/api/llm", "/v2/enqueue/q/api/email"])
def test_providers_of_upstash_are_refused_with_a_way_out(server: Running, path: str) -> None:
    answer = server.request("POST", path)
    assert answer.status == 400
    assert "publish to the provider's URL instead" in answer.json["error"]


def test_wrong_method_is_405_and_names_the_right_ones(server: Running) -> None:
    answer = server.request("PUT", "/v2/messages/msg_1")
    assert (answer.status, answer.json) == (405, {"error": "PUT is not allowed here: DELETE, GET"})


def test_fault_of_the_server_is_500_without_a_traceback(
    server: Running, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("qstash_server.app.dispatch", None)
    answer = server.request("GET", "/v2/keys")
    assert answer.status == 500
    assert "Traceback" not in answer.text
    assert "Traceback" in caplog.text


def test_long_headers_and_destinations_pass(server: Running) -> None:
    path = "/v2/publish/http://127.0.0.1:9/" + "x" * 20_000
    headers = {"Upstash-Forward-Big": "y" * 20_000, "Upstash-Delay": "1h"}
    assert server.request("POST", path, "", headers).status == 200
