"""Lists over HTTP, for applications and for staff."""

from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.exceptions import NotFound
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from recommendations import cold_start, serving, similar
from recommendations.authentication import APPLICATION_AUTHENTICATION, IsApplication
from recommendations.models import MAX_ID_LENGTH
from recommendations.serving import DEFAULT_LIMIT, MOST_ENTRIES, Wish

MOST_EXCLUDED = 1000


class IdsField(serializers.CharField):
    """Ids separated by commas; the parameter may also be repeated, for ids that hold one."""

    def get_value(self, dictionary: Any) -> Any:
        values = dictionary.getlist(self.field_name)
        return values if len(values) > 1 else super().get_value(dictionary)

    def to_internal_value(self, data: Any) -> Any:
        ids = data if isinstance(data, list) else str(data).split(",")
        named = frozenset(name.strip() for name in ids if name.strip())
        if len(named) > MOST_EXCLUDED:
            raise serializers.ValidationError(f"Name at most {MOST_EXCLUDED} items.")
        return named


class LimitSerializer(serializers.Serializer):
    limit = serializers.IntegerField(min_value=1, max_value=MOST_ENTRIES, default=DEFAULT_LIMIT)


class TrendingSerializer(LimitSerializer):
    """What can be asked of a list."""

    topic = serializers.CharField(default="", allow_blank=True, max_length=100)
    exclude = IdsField(default=frozenset, allow_blank=True)  # type: ignore[arg-type]


class RecommendSerializer(TrendingSerializer):
    user_id = serializers.CharField(default="", allow_blank=True, max_length=MAX_ID_LENGTH)


class ListView(APIView):
    """What the three addresses have in common."""

    authentication_classes = APPLICATION_AUTHENTICATION
    permission_classes = [IsApplication]


class RecommendView(ListView):
    """The list for a user, with the reason of each entry.

    Without enough known about the user it is what is trending, and `because` says why.
    """

    @extend_schema(parameters=[RecommendSerializer], responses=OpenApiTypes.OBJECT)
    def get(self, request: Request) -> Response:
        return Response(serving.recommend(_wish(request, RecommendSerializer)).as_json())


class TrendingView(ListView):
    """What is trending, for everybody, and the topics that are more alive than usual."""

    @extend_schema(parameters=[TrendingSerializer], responses=OpenApiTypes.OBJECT)
    def get(self, request: Request) -> Response:
        answer = serving.trending(_wish(request, TrendingSerializer)).as_json()
        rising = [topic._asdict() for topic in cold_start.read_rising_topics()]
        return Response({**answer, "trending_topics": rising})


class SimilarView(ListView):
    """Items like an item."""

    @extend_schema(
        parameters=[LimitSerializer, OpenApiParameter("item_id", str, "path")],
        responses=OpenApiTypes.OBJECT,
    )
    def get(self, request: Request, item_id: str) -> Response:
        found = similar.similar(item_id, limit=_checked(request, LimitSerializer)["limit"])
        if found is None:
            raise NotFound(f"No item is called {item_id!r}.")
        return Response(found.as_json())


def _wish(request: Request, serializer: type[serializers.Serializer]) -> Wish:
    return Wish(**_checked(request, serializer))


def _checked(request: Request, serializer: type[serializers.Serializer]) -> dict[str, Any]:
    read = serializer(data=request.query_params)
    read.is_valid(raise_exception=True)
    checked: dict[str, Any] = read.validated_data
    return checked
