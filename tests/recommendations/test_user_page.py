import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client

from tests.recommendations.shop import build_shop, item, learn_version, user

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("no_lists")]

PAGE = "/admin/recommendations/userembedding/user/"
ROWS = "/admin/recommendations/userembedding/"


def page(client: Client, **query: str) -> str:
    answer = client.get(PAGE, query)
    assert answer.status_code == 200
    return str(answer.content.decode())


def test_page_shows_actions_list_and_reasons(admin_client: Client) -> None:
    build_shop()
    learn_version()
    text = page(admin_client, user_id=user(0))
    assert "12 in all" in text
    assert "because you read Title" in text
    assert "personal" in text


def test_page_explains_an_item(admin_client: Client) -> None:
    build_shop()
    learn_version()
    text = page(admin_client, user_id=user(0), item_id=item(3))
    assert "Taste, by the factors" in text
    assert "What weighs most" in text


def test_page_of_a_stranger_says_why_the_list_is_for_everybody(admin_client: Client) -> None:
    build_shop()
    text = page(admin_client, user_id="<stranger>")
    assert "Nothing has been learned yet." in text
    assert "&lt;stranger&gt;" in text
    assert "<stranger>" not in text


def test_page_without_a_user_asks_for_one(admin_client: Client) -> None:
    assert "Look at a user" in page(admin_client)


def test_embeddings_link_to_their_users(admin_client: Client) -> None:
    build_shop(users=8)
    learn_version()
    text = admin_client.get(ROWS, {"q": user(3)}).content.decode()
    assert f"{PAGE}?user_id={user(3)}" in text


def test_page_needs_the_permission_to_view(client: Client) -> None:
    visitor = User.objects.create_user("visitor", is_staff=True)
    client.force_login(visitor)
    assert client.get(PAGE).status_code == 403
    visitor.user_permissions.add(Permission.objects.get(codename="view_userembedding"))
    assert client.get(PAGE).status_code == 200
