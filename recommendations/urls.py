"""The API of recommendations. No trailing slashes."""

from django.urls import path

from recommendations.views import RecommendView, SimilarView, TrendingView

urlpatterns = [
    path("recommend", RecommendView.as_view(), name="recommend"),
    path("recommend/trending", TrendingView.as_view(), name="trending"),
    # An application's ids may hold slashes.
    path("items/<path:item_id>/similar", SimilarView.as_view(), name="similar"),
]
