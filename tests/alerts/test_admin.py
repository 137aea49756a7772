"""Rules, channels and alerts in the admin."""

import json
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from pytest_django import Settings

from alerts.channels import CHANNELS
from alerts.composing import compose
from alerts.evaluating import evaluate
from alerts.models import Alert, AlertRule, Channel, Delivery
from alerts.rules import RULES
from sites.models import MonitoredSite
from tests.alerts.conftest import AddChannel, AddPoint, AddRule, AddSite
from tests.sites.loopback import http
from tests.sites.website import Website

pytestmark = pytest.mark.django_db

ADD_RULE = reverse("admin:alerts_alertrule_add")
ADD_CHANNEL = reverse("admin:alerts_channel_add")
SECRET = "made-up-secret-of-a-hook"
RULE = {
    "name": "Shop is down", "enabled": "on", "site": "", "cooldown_minutes": "60", "remind_minutes": "0",
    "tells_recovery": "on", "option_minutes": "10",
}  # fmt: skip
CHANNEL = {
    "name": "Hook", "enabled": "on", "quiet_from": "", "quiet_until": "", "timezone": "UTC",
    "digest_above": "5", "option_format": "json", "option_header": "",
}  # fmt: skip


@pytest.fixture
def staff() -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("me"))
    return client


def html(client: Client, address: str) -> str:
    answer = client.get(address)
    assert answer.status_code == 200, answer
    page = answer.content.decode()
    # The content security policy takes neither.
    assert "style=" not in page.replace("data-style=", "")
    assert "onclick=" not in page
    return page


def change_page(row: Any) -> str:
    return reverse(f"admin:alerts_{row._meta.model_name}_change", args=[row.pk])


def post(client: Client, address: str, data: dict[str, Any], *, follow: bool = True) -> str:
    answer = client.post(address, data, follow=follow)
    assert answer.status_code == 200
    return answer.content.decode()


# --- Rules ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", RULES.values(), ids=RULES)
def test_the_form_of_each_kind_explains_its_fields(staff: Client, kind: Any) -> None:
    assert f"?kind={kind.key}" in html(staff, ADD_RULE)
    page = html(staff, f"{ADD_RULE}?kind={kind.key}")
    for name, field in kind.Options.base_fields.items():
        assert f'name="option_{name}"' in page
        assert field.help_text in page
    assert ('name="site"' in page) is kind.about_sites


def test_a_rule_is_made_and_changed_with_its_own_options(
    staff: Client, add_channel: AddChannel
) -> None:
    channel = add_channel()
    data = {**RULE, "channels": [channel.pk]}
    post(staff, f"{ADD_RULE}?kind=down", data)
    rule = AlertRule.objects.get()
    assert (rule.kind, rule.options) == ("down", {"minutes": 10, "any_failure": False})
    assert list(rule.channels.all()) == [channel]
    assert 'value="10"' in html(staff, change_page(rule))
    post(staff, change_page(rule), {**data, "option_minutes": "30", "option_any_failure": "on"})
    rule.refresh_from_db()
    assert (rule.kind, rule.options) == ("down", {"minutes": 30, "any_failure": True})


def test_what_a_kind_refuses_stands_at_its_field(staff: Client) -> None:
    data = {**RULE, "option_probability": "0.01", "option_weeks": "4", "option_least_weeks": "5"}
    page = post(staff, f"{ADD_RULE}?kind=no-sales", data)
    assert "It learns from fewer weeks than that." in page
    assert not AlertRule.objects.exists()


def test_a_kind_that_there_is_not_is_not_found(staff: Client) -> None:
    assert staff.get(f"{ADD_RULE}?kind=horoscope").status_code == 404
    assert staff.get(f"{ADD_CHANNEL}?kind=pigeon").status_code == 404


def test_a_rule_whose_code_has_gone_can_be_looked_at_and_deleted(
    staff: Client, add_rule: AddRule
) -> None:
    rule = add_rule("old", kind="horoscope")
    assert "old" in html(staff, change_page(rule))
    assert "horoscope" in html(staff, reverse("admin:alerts_alertrule_changelist"))
    post(staff, reverse("admin:alerts_alertrule_delete", args=[rule.pk]), {"post": "yes"})
    assert not AlertRule.objects.exists()


def test_the_page_of_a_rule_says_what_it_says_now_and_would_have_said(
    staff: Client, add_site: AddSite, add_rule: AddRule, add_point: AddPoint
) -> None:
    rule, now = add_rule("Down"), timezone.now()
    site = add_site("shop")
    add_point(site, now - timedelta(hours=30), "down", reason="no answer")
    add_point(site, now - timedelta(hours=29), "up")
    add_point(site, now, "up")
    address = reverse("admin:alerts_alertrule_backtest", args=[rule.pk])
    assert address in html(staff, change_page(rule))
    page = html(staff, f"{address}?days=2")
    assert "1 alert, 3.5 a week" in " ".join(page.split())
    assert "no answer" in page
    assert "all well" in page
    assert "0 alerts" in html(staff, f"{address}?days=1")
    assert "In the last 30 days" in html(staff, f"{address}?days=often")
    assert staff.get(reverse("admin:alerts_alertrule_backtest", args=[7777])).status_code == 404


# --- Channels -------------------------------------------------------------------------------------


def add_hook(staff: Client, url: str) -> Channel:
    post(staff, f"{ADD_CHANNEL}?kind=webhook", {**CHANNEL, "secret_url": url})
    return Channel.objects.get()


@pytest.mark.parametrize("kind", CHANNELS.values(), ids=CHANNELS)
def test_the_form_of_each_channel_asks_for_its_options_and_secrets(
    staff: Client, kind: Any
) -> None:
    assert f"?kind={kind.key}" in html(staff, ADD_CHANNEL)
    page = html(staff, f"{ADD_CHANNEL}?kind={kind.key}")
    for name in kind.Options.base_fields:
        assert f'name="option_{name}"' in page
    for name, field in kind.Secrets.base_fields.items():
        assert f'type="password" name="secret_{name}"' in page
        assert "<" not in field.help_text  # It would be taken for HTML.


def test_secrets_are_stored_encrypted_and_never_shown_again(staff: Client) -> None:
    url = f"https://hook.example/{SECRET}"
    channel = add_hook(staff, url)
    assert channel.secrets == {"url": url}
    pages = [
        html(staff, change_page(channel)),
        html(staff, reverse("admin:alerts_channel_changelist")),
        html(staff, reverse("admin:alerts_channel_history", args=[channel.pk])),
        # A form that is refused does not bring them back either.
        post(staff, change_page(channel), {**CHANNEL, "digest_above": "0"}),
        *LogEntry.objects.values_list("change_message", flat=True),
    ]
    for page in pages:
        assert SECRET not in page
    with connection.cursor() as cursor:
        cursor.execute("SELECT secrets, options::text FROM alert_channels")
        assert SECRET not in "".join(cursor.fetchone())


def test_an_empty_secret_keeps_what_is_stored_and_a_new_one_replaces_it(staff: Client) -> None:
    channel = add_hook(staff, "https://hook.example/1")
    post(staff, change_page(channel), {**CHANNEL, "secret_url": "", "secret_signing_key": "k"})
    channel.refresh_from_db()
    assert channel.secrets == {"url": "https://hook.example/1", "signing_key": "k"}
    post(staff, change_page(channel), {**CHANNEL, "secret_url": "https://hook.example/2"})
    channel.refresh_from_db()
    assert channel.secrets == {"url": "https://hook.example/2", "signing_key": "k"}


def test_a_channel_without_what_it_needs_is_refused(staff: Client) -> None:
    page = post(staff, f"{ADD_CHANNEL}?kind=webhook", CHANNEL)
    assert "This field is required." in page
    page = post(
        staff,
        f"{ADD_CHANNEL}?kind=webhook",
        {**CHANNEL, "secret_url": "https://x.example", "quiet_from": "22:00"},
    )
    assert "Quiet hours need both times" in page
    assert not Channel.objects.exists()


def test_a_missing_key_hides_no_channel_and_keeps_its_secrets(
    staff: Client, settings: Settings
) -> None:
    channel = add_hook(staff, "https://hook.example/1")
    keys, settings.SOLOBOARD_SECRET_KEYS = settings.SOLOBOARD_SECRET_KEYS, ["another-key-" * 4]
    assert "Hook" in html(staff, reverse("admin:alerts_channel_changelist"))
    assert "needs a key that SOLOBOARD_SECRET_KEYS does not hold" in html(
        staff, change_page(channel)
    )
    page = post(staff, reverse("admin:alerts_channel_test", args=[channel.pk]), {})
    assert "not sent. A stored secret was encrypted with the key" in page
    settings.SOLOBOARD_SECRET_KEYS = keys
    assert Channel.objects.get().secrets == {"url": "https://hook.example/1"}


def test_a_test_is_sent_with_one_click_and_its_outcome_is_told(
    staff: Client, receiver: Website
) -> None:
    channel = add_hook(staff, receiver.url("/hook"))
    address = reverse("admin:alerts_channel_test", args=[channel.pk])
    page = html(staff, change_page(channel))
    assert f'action="{address}"' in page
    assert "Send a test" in page
    assert "Hook: sent; the other side has taken it." in post(staff, address, {})
    assert "alerts over “Hook” arrive" in json.loads(receiver.requests[0].body)["text"]
    receiver.pages["/hook"] = http("no", status=410)
    assert "Hook: not sent. 127.0.0.1 answered 410" in post(staff, address, {})
    listed = reverse("admin:alerts_channel_changelist")
    data = {"action": "send_tests", "_selected_action": [channel.pk]}
    assert "Hook: not sent. 127.0.0.1 answered 410" in post(staff, listed, data)
    assert staff.get(address).status_code == 405


def test_a_test_needs_the_right_to_change_channels(add_channel: AddChannel) -> None:
    channel = add_channel()
    client = Client()
    address = reverse("admin:alerts_channel_test", args=[channel.pk])
    assert client.post(address).status_code == 302  # to the login
    client.force_login(User.objects.create_user("other", is_staff=True))
    assert client.post(address).status_code == 403


# --- Alerts and messages --------------------------------------------------------------------------


@pytest.fixture
def delivery(
    add_site: AddSite, add_rule: AddRule, add_channel: AddChannel, add_point: AddPoint
) -> Delivery:
    add_rule("Down", add_channel())
    add_point(add_site("shop"), timezone.now(), "down", reason="<b>no answer</b>")
    evaluate(timezone.now())
    return Delivery.objects.get()


def test_an_alert_shows_its_timeline_and_its_messages_and_cannot_be_changed(
    staff: Client, delivery: Delivery
) -> None:
    Delivery.objects.update(attempts=2, error="127.0.0.1 refused the connection.")
    alert = Alert.objects.get()
    assert "shop" in html(staff, reverse("admin:alerts_alert_changelist") + "?state=open")
    assert "0 alerts" in html(staff, reverse("admin:alerts_alert_changelist") + "?state=over")
    page = html(staff, change_page(alert))
    assert "&lt;b&gt;no answer&lt;/b&gt;" in page
    assert change_page(delivery) in page
    assert "after 2 failed attempts" in page
    assert "127.0.0.1 refused the connection." in page
    assert staff.post(change_page(alert), {"reason": "x"}).status_code == 403


def test_a_failed_message_is_sent_again_by_an_action(staff: Client, delivery: Delivery) -> None:
    listed = reverse("admin:alerts_delivery_changelist")
    data = {"action": "send_again", "_selected_action": [delivery.pk]}
    assert "None of these has failed." in post(staff, listed, data)
    Delivery.objects.update(status="failed", error="no")
    assert "no" in html(staff, change_page(delivery))
    assert "1 will be sent by the next evaluation" in post(staff, listed, data)
    assert Delivery.objects.get().status == "waiting"


def test_deleting_a_site_deletes_its_alerts_and_its_rules(
    staff: Client, delivery: Delivery
) -> None:
    AlertRule.objects.create(
        name="single", kind="slow", site=MonitoredSite.objects.get(), options={}
    )
    MonitoredSite.objects.all().delete()
    assert not Alert.objects.exists()
    assert [rule.name for rule in AlertRule.objects.all()] == ["Down"]
    assert "hook" in html(staff, change_page(delivery))


def test_deleting_a_rule_or_a_channel_deletes_its_alerts_or_messages(
    staff: Client, delivery: Delivery
) -> None:
    post(staff, reverse("admin:alerts_channel_delete", args=[delivery.channel_id]), {"post": "yes"})
    assert not Delivery.objects.exists()
    rule = AlertRule.objects.get()
    post(staff, reverse("admin:alerts_alertrule_delete", args=[rule.pk]), {"post": "yes"})
    assert not Alert.objects.exists()


def test_a_site_whose_key_is_missing_hides_no_rule_and_no_alert(
    staff: Client, delivery: Delivery, settings: Settings
) -> None:
    site = MonitoredSite.objects.get()
    site.credentials = {"token": "made-up"}
    site.save()
    AlertRule.objects.update(site=site)
    settings.SOLOBOARD_SECRET_KEYS = ["another-key-" * 4]
    rule, alert = AlertRule.objects.get(), Alert.objects.with_names().get()
    pages = [
        *(reverse(f"admin:alerts_{name}_changelist") for name in ("alertrule", "alert")),
        reverse("admin:alerts_alertrule_backtest", args=[rule.pk]),
        *map(change_page, (rule, alert, delivery)),
    ]
    for address in pages:
        assert "shop" in html(staff, address), address
    assert "hook" in html(staff, reverse("admin:alerts_delivery_changelist"))
    assert staff.get("/api/alerts").json()["results"][0]["site"] == "shop"
    read = Delivery.objects.defer("channel__secrets").select_related("channel").get()
    assert compose(read).title == "ALERT: shop: Down"
