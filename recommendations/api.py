"""The API for applications: actions and content in, and users out."""

from collections.abc import Mapping
from typing import IO, Any

from django.conf import settings
from drf_spectacular.utils import (
    OpenApiExample,
    extend_schema,
    extend_schema_view,
    inline_serializer,
)
from rest_framework import exceptions, serializers, viewsets
from rest_framework.pagination import CursorPagination
from rest_framework.parsers import JSONParser
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from recommendations import queue
from recommendations.actions import Action, ActionRefused, read_action, rules
from recommendations.authentication import APPLICATION_AUTHENTICATION, IsApplication
from recommendations.content import ContentItemSerializer, save, upsert
from recommendations.forgetting import forget
from recommendations.models import MAX_ID_LENGTH, ContentItem
from scheduling.authentication import PayloadTooLarge, raw_body
from scheduling.responses import error_body
from scheduling.runner import timestamp

MAX_ACTIONS = 1_000
MAX_ITEMS = 5_000


class StrictJSONParser(JSONParser):
    """REST framework's parser answers JSON that is nested too deeply with an internal error."""

    def parse(
        self,
        stream: IO[Any],
        media_type: str | None = None,
        parser_context: Mapping[str, Any] | None = None,
    ) -> Any:
        try:
            return super().parse(stream, media_type, parser_context)
        except RecursionError as error:
            raise exceptions.ParseError("The JSON is nested too deeply.") from error


class ApplicationView(APIView):
    """A view for applications with a token. Staff may look at it."""

    authentication_classes = APPLICATION_AUTHENTICATION
    permission_classes = [IsApplication]
    parser_classes = [StrictJSONParser]

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        # REST framework would read a body of any length, and none that comes in chunks.
        raw_body(request)


# --- Actions --------------------------------------------------------------------------------------


class ActionSerializer(serializers.Serializer):
    """An action, for the schema; actions.py reads them, many times as fast.

    id: the same action under the same id counts once, so a request may be repeated. Must be unique
        among all producers; without it every entry is an action of its own.
    """

    id = serializers.CharField(max_length=MAX_ID_LENGTH, required=False)
    user_id = serializers.CharField(max_length=MAX_ID_LENGTH)
    item_id = serializers.CharField(max_length=MAX_ID_LENGTH)
    action = serializers.CharField()
    occurred_at = serializers.DateTimeField()


class ActionsView(ApplicationView):
    """Takes what users did: one action, or a list of up to 1,000.

    They are queued and processed within seconds. Entries that are not valid are reported by their
    place in the list, and the others are kept. A GET tells which kinds of actions there are, with
    their weights, and how many actions wait.
    """

    @extend_schema(
        operation_id="actions_retrieve",
        responses=inline_serializer(
            "ActionKinds",
            {
                "kinds": serializers.DictField(child=serializers.FloatField()),
                "waiting": serializers.IntegerField(),
            },
        ),
    )
    def get(self, request: Request) -> Response:
        return Response({"kinds": settings.ACTION_WEIGHTS, "waiting": queue.depth()})

    @extend_schema(
        operation_id="actions_create",
        request=ActionSerializer(many=True),
        examples=[
            OpenApiExample(
                "one action",
                request_only=True,
                value={
                    "user_id": "u1",
                    "item_id": "i1",
                    "action": "view",
                    "occurred_at": "2026-02-07T10:30:00Z",
                },
            )
        ],
        responses={
            202: inline_serializer(
                "QueuedActions",
                {
                    "success": serializers.BooleanField(),
                    "queued": serializers.IntegerField(),
                    "errors": serializers.ListField(child=serializers.DictField()),
                    "timestamp": serializers.DateTimeField(),
                },
            )
        },
    )
    def post(self, request: Request) -> Response:
        entries = _listed(request.data, "actions", MAX_ACTIONS)
        accepted, errors = _read_all(entries)
        if errors and not accepted:
            message = errors[0]["error"] if len(entries) == 1 else "None of the actions is valid."
            return Response(error_body(message, errors=errors), status=400)
        queue.push([_queued(action) for action in accepted])
        return Response(_done(queued=len(accepted), errors=errors), status=202)


def _read_all(entries: list[Any]) -> tuple[list[Action], list[dict[str, Any]]]:
    """The valid entries, and what is wrong with the others."""
    accepted, errors, current = [], [], rules()
    # The queue entries carry their ids from here on: redis-py repeats a push whose answer got lost.
    push_id = queue.new_id()
    for index, entry in enumerate(entries):
        try:
            accepted.append(read_action(entry, current, spare_id=f"{push_id}-{index}"))
        except ActionRefused as refusal:
            errors.append({"index": index, "error": str(refusal)})
    return accepted, errors


def _queued(action: Action) -> dict[str, str]:
    """An action as any producer would write it."""
    return {
        "id": action.action_id,
        "user_id": action.user_id,
        "item_id": action.item_id,
        "action": action.action,
        "occurred_at": action.occurred_at.isoformat(),
    }


# --- Content --------------------------------------------------------------------------------------


class ItemCursor(CursorPagination):
    ordering = ("-published_at", "-id")


@extend_schema_view(
    create=extend_schema(
        request=ContentItemSerializer(many=True),
        responses={
            200: inline_serializer(
                "SavedItems",
                {
                    "success": serializers.BooleanField(),
                    "saved": serializers.IntegerField(),
                    "errors": serializers.ListField(child=serializers.DictField()),
                    "timestamp": serializers.DateTimeField(),
                },
            ),
            201: ContentItemSerializer,
        },
    )
)
class ContentItemViewSet(ApplicationView, viewsets.ModelViewSet):
    """The content that can be recommended.

    A POST inserts or updates by `external_id`: one item, or a list of up to 5,000, of which those
    that are not valid are reported by their place and the others are saved.
    """

    queryset = ContentItem.objects.all()
    serializer_class = ContentItemSerializer
    pagination_class = ItemCursor
    lookup_field = "external_id"
    lookup_value_regex = "[^/]+"

    def create(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        if isinstance(request.data, list):
            return _upsert_listed(_listed(request.data, "items", MAX_ITEMS))
        serializer = self.get_serializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        external_id = serializer.validated_data["external_id"]
        is_known = ContentItem.objects.filter(external_id=external_id).exists()
        save([serializer.validated_data])
        item = ContentItem.objects.get(external_id=external_id)
        return Response(self.get_serializer(item).data, status=200 if is_known else 201)


def _upsert_listed(entries: list[Any]) -> Response:
    errors = [{"index": problem.index, "error": problem.reason} for problem in upsert(entries)]
    if errors and len(errors) == len(entries):
        return Response(error_body("None of the items is valid.", errors=errors), status=400)
    return Response(_done(saved=len(entries) - len(errors), errors=errors))


# --- Users ----------------------------------------------------------------------------------------


class UserView(ApplicationView):
    """A user of an application. DELETE forgets all that is stored about one; it may be repeated."""

    @extend_schema(
        operation_id="users_destroy",
        responses=inline_serializer(
            "ForgottenUser",
            {
                "success": serializers.BooleanField(),
                "deleted": serializers.DictField(child=serializers.IntegerField()),
                "timestamp": serializers.DateTimeField(),
            },
        ),
    )
    def delete(self, request: Request, user_id: str) -> Response:
        return Response(_done(deleted=forget(user_id).counts()))


def _listed(data: Any, noun: str, limit: int) -> list[Any]:
    """The entries of a body, which may also be a single one. Raises PayloadTooLarge."""
    entries = data if isinstance(data, list) else [data]
    if len(entries) > limit:
        raise PayloadTooLarge(
            f"A request holds at most {limit:,} {noun}; these are {len(entries):,}. Send them in parts."
        )
    return entries


def _done(**details: Any) -> dict[str, Any]:
    return {"success": True, **details, "timestamp": timestamp()}
