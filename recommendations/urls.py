"""The API for applications. No trailing slashes."""

from django.urls import path
from rest_framework.routers import SimpleRouter

from recommendations.api import ActionsView, ContentItemViewSet, UserView
from recommendations.views import RecommendView, SimilarView, TrendingView

router = SimpleRouter(trailing_slash=False)
router.register("items", ContentItemViewSet)

urlpatterns = [
    path("actions", ActionsView.as_view(), name="actions"),
    # An id is the application's, and may hold a slash.
    path("users/<path:user_id>", UserView.as_view(), name="user"),
    path("recommend", RecommendView.as_view(), name="recommend"),
    path("recommend/trending", TrendingView.as_view(), name="trending"),
    # An application's ids may hold slashes.
    path("items/<path:item_id>/similar", SimilarView.as_view(), name="similar"),
    *router.urls,
]
