import re

import pytest

from tests.qstash_server.running import Running


@pytest.mark.parametrize(
    ("path", "content_type"),
    [("/", "text/html"), ("/page.css", "text/css"), ("/page.js", "text/javascript")],
)
def test_files_are_there_for_everybody(closed: Running, path: str, content_type: str) -> None:
    answer = closed.request("GET", path, token="")
    assert answer.status == 200
    assert answer.headers["Content-Type"] == f"{content_type}; charset=utf-8"
    assert closed.token not in answer.text
    assert closed.request("HEAD", path, token="").headers["Content-Length"] == str(
        len(answer.text.encode())
    )
    assert closed.request("POST", path, token="").status == 405


def test_page_has_nothing_inline_and_nothing_from_elsewhere(server: Running) -> None:
    html = server.request("GET", "/", token="").text
    assert not re.search(r"<style|\son\w+=|style=|javascript:", html)
    assert re.findall(r"<script[^>]*>(.*?)</script>", html) == [""]
    links = set(re.findall(r'(?:src|href|action)="([^"#]+)"', html))
    assert {link for link in links if not link.startswith("data:image/svg+xml,")} == {
        "/page.css",
        "/page.js",
        "/page/session",
    }


def test_link_on_another_site_leads_to_the_page_and_to_nothing_else(server: Running) -> None:
    followed = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    loaded = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}
    assert server.request("GET", "/", headers=followed, token="").status == 200
    assert server.request("POST", "/", headers=followed, token="").status == 403
    assert server.request("GET", "/", headers=followed | {"Host": "evil.example"}).status == 403
    for path in ("/", "/page.js", "/page.css"):
        assert server.request("GET", path, headers=loaded, token="").status == 403
    assert server.request("GET", "/v2/keys", headers=followed).status == 403
