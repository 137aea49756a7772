"""Content, what people did with it, what was learned from that, and what is shown because of it."""

from typing import Self

from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.indexes import GinIndex
from django.core.validators import RegexValidator
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now
from django.utils import timezone
from pgvector.django import HnswIndex, VectorField

#: Ids come from applications, and are theirs: any text of this length.
MAX_ID_LENGTH = 200
#: Length of the vectors. The index needs it fixed, so a change of it is a migration.
FACTORS = 64
#: ContentItemQuerySet.listable() for statements that the ORM cannot write; c is the item.
LISTABLE = """NOT c.hidden AND c.published_at <= statement_timestamp()
    AND (c.expires_at IS NULL OR c.expires_at > statement_timestamp())"""


class ContentItemQuerySet(models.QuerySet["ContentItem"]):
    def listable(self) -> Self:
        """Items that may be recommended now: published, not expired, not hidden."""
        published = Q(published_at__lte=Now())
        current = Q(expires_at=None) | Q(expires_at__gt=Now())
        return self.filter(published, current, hidden=False)


class ContentItem(models.Model):
    """Something that can be recommended. external_id: how the application calls it."""

    external_id = models.CharField(
        max_length=MAX_ID_LENGTH,
        unique=True,
        validators=[
            RegexValidator(r"\A[^/]+\Z", "An item's id is part of an address and holds no slash.")
        ],
    )
    title = models.CharField(max_length=500)
    text = models.TextField(blank=True)
    topics = ArrayField(models.CharField(max_length=100), default=list, blank=True)
    published_at = models.DateTimeField(default=timezone.now)
    expires_at = models.DateTimeField(null=True, blank=True)
    hidden = models.BooleanField(default=False, help_text="A hidden item is never recommended.")
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    objects = ContentItemQuerySet.as_manager()

    class Meta:
        db_table = "content_items"
        ordering = ["-published_at", "-id"]
        indexes = [
            models.Index(fields=["-published_at"], name="content_items_by_time"),
            GinIndex(fields=["topics"], name="content_items_by_topic"),
        ]

    def __str__(self) -> str:
        return self.title


class UserAction(models.Model):
    """One thing that somebody did. Neither the user nor the item need be known here.

    action_id: makes an action the same however often it arrives; the producer's own id, or one
        that it got on its way (queue.py).
    """

    action_id = models.CharField(max_length=MAX_ID_LENGTH)
    user_id = models.CharField(max_length=MAX_ID_LENGTH)
    item_id = models.CharField(max_length=MAX_ID_LENGTH)
    action = models.CharField(max_length=40)
    occurred_at = models.DateTimeField()
    received_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "user_actions"
        ordering = ["-occurred_at", "-id"]
        # Not unique=True on the field: that brings a second index, for LIKE, which every insert
        # would pay for.
        constraints = [models.UniqueConstraint(fields=["action_id"], name="one_row_an_action")]
        indexes = [
            models.Index(fields=["user_id", "-occurred_at"], name="user_actions_by_user"),
            models.Index(fields=["item_id"], name="user_actions_by_item"),
            models.Index(fields=["-occurred_at"], name="user_actions_by_time"),
        ]

    def __str__(self) -> str:
        return f"{self.user_id} {self.action} {self.item_id}"


class QuarantinedAction(models.Model):
    """An entry of the queue that could not be read as an action.

    entry_id: the action id that the entry got on its way, so that an entry that is taken twice is
        kept here once.
    user_id: whom it seems to be about; "" where that cannot be read either.
    raw: as it stood in the list.
    """

    entry_id = models.CharField(max_length=MAX_ID_LENGTH)
    user_id = models.CharField(max_length=MAX_ID_LENGTH, blank=True)
    raw = models.BinaryField()
    reason = models.TextField()
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        db_table = "quarantined_actions"
        ordering = ["-created_at", "-id"]
        constraints = [models.UniqueConstraint(fields=["entry_id"], name="one_row_an_entry")]
        indexes = [models.Index(fields=["user_id"], name="quarantined_by_user")]

    def __str__(self) -> str:
        return self.reason


class ApplicationToken(models.Model):
    """What an application authenticates with. Only a hash is stored; the token is shown once."""

    name = models.CharField(max_length=120, unique=True)
    digest = models.CharField(max_length=64, unique=True, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)
    last_used_at = models.DateTimeField(null=True, editable=False)
    revoked_at = models.DateTimeField(null=True, editable=False)

    class Meta:
        db_table = "application_tokens"
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name


class FactorVersion(models.Model):
    """One training of the item factors. At most one is active; readers read that one alone.

    parameters: core.parameters.Parameters as JSON, chosen by replay at tuned_at, when there were
        tuned_actions.
    action_weights: what each kind of action counted in this version.
    arrays: the factors and what belongs to them as a NumPy archive, for work in batches.
    figures: of the replay and of the index. reason: why it was not switched on.
    actions_used, last_action_id: what was stored when its training began, which is all it learns
        from. learned_until: the last of that happened then.
    text_items: how many items got a vector from their text, which grows while the version is active.
    stage, epochs_done, attempts: where its training is, how many sweeps are kept of the stage, and
        how many runs began in it.
    """

    class Status(models.TextChoices):
        TRAINING = "training", "in training"
        ACTIVE = "active", "active"
        REJECTED = "rejected", "not switched on"
        RETIRED = "retired", "replaced"

    class Stage(models.TextChoices):
        CHOOSING = "choosing", "choosing parameters"
        LEARNING = "learning", "learning from all but the newest actions"
        JUDGING = "judging", "replaying the newest actions"
        FINISHING = "finishing", "learning from the newest actions too"
        PLACING = "placing", "storing item vectors"
        FOLDING = "folding", "computing user embeddings"
        DONE = "done", "done"

    status = models.CharField(max_length=8, choices=Status, default=Status.TRAINING)
    stage = models.CharField(max_length=9, choices=Stage, default=Stage.CHOOSING)
    epochs_done = models.PositiveSmallIntegerField(default=0)
    attempts = models.PositiveSmallIntegerField(default=0)
    parameters = models.JSONField(default=dict)
    tuned_at = models.DateTimeField(null=True)
    tuned_actions = models.BigIntegerField(default=0)
    action_weights = models.JSONField(default=dict)
    arrays = models.BinaryField(null=True)
    figures = models.JSONField(default=dict, blank=True)
    reason = models.TextField(blank=True)
    actions_used = models.BigIntegerField(default=0)
    last_action_id = models.BigIntegerField(default=0)
    learned_until = models.DateTimeField(null=True)
    text_items = models.PositiveIntegerField(default=0)
    created_at = models.DateTimeField(auto_now_add=True)
    switched_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "factor_versions"
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["status"], condition=Q(status="active"), name="one_active_factor_version"
            ),
            models.UniqueConstraint(
                fields=["status"],
                condition=Q(status="training"),
                name="one_factor_version_in_training",
            ),
        ]

    def __str__(self) -> str:
        return f"version {self.pk} ({self.get_status_display()})"


class ItemVector(models.Model):
    """The factors of one item in one version.

    vector: (FACTORS,). search: the same with one more coordinate that makes all vectors of a version
        equally long, so that the nearest by L2 are the largest inner products.
    from_text: made from its text and topics, because nobody has touched it yet.
    """

    version = models.ForeignKey(FactorVersion, on_delete=models.CASCADE, related_name="items")
    item_id = models.CharField(max_length=MAX_ID_LENGTH)
    vector = VectorField(dimensions=FACTORS)
    search = VectorField(dimensions=FACTORS + 1)
    from_text = models.BooleanField(default=False)

    class Meta:
        db_table = "item_vectors"
        constraints = [
            models.UniqueConstraint(fields=["version", "item_id"], name="one_vector_of_an_item")
        ]
        indexes = [
            HnswIndex(
                fields=["search"],
                name="item_vectors_nearest",
                m=16,
                ef_construction=128,
                opclasses=["vector_l2_ops"],
            )
        ]

    def __str__(self) -> str:
        return f"{self.item_id} in {self.version_id}"


class UserEmbedding(models.Model):
    """A user's vector against the item factors of one version.

    actions_used: how many actions of the user were stored when it was made. items_used: on how many
        items of the version they were; with none, the vector is zero.
    spread: the standard deviation of its products with all items.
    """

    user_id = models.CharField(max_length=MAX_ID_LENGTH)
    version = models.ForeignKey(FactorVersion, on_delete=models.CASCADE, related_name="users")
    vector = VectorField(dimensions=FACTORS)
    actions_used = models.PositiveIntegerField()
    items_used = models.PositiveIntegerField()
    spread = models.FloatField()
    updated_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "user_embeddings"
        ordering = ["-updated_at"]
        constraints = [
            models.UniqueConstraint(fields=["version", "user_id"], name="one_embedding_of_a_user")
        ]
        indexes = [
            models.Index(fields=["-updated_at"], name="user_embeddings_by_time"),
            models.Index(fields=["user_id"], name="user_embeddings_by_user"),
        ]

    def __str__(self) -> str:
        return self.user_id


class ItemSignal(models.Model):
    """How much an item is liked, by all and of late. Only recommendations/signals.py writes it.

    popularity: how many users ever liked it. trend: likings, each halved with every half-life of
        its age, for personal lists. trending: the same with the half-life of trending lists.
    """

    item_id = models.CharField(max_length=MAX_ID_LENGTH, primary_key=True)
    popularity = models.FloatField()
    trend = models.FloatField()
    trending = models.FloatField()
    refreshed_at = models.DateTimeField()

    class Meta:
        db_table = "item_signals"
        indexes = [
            models.Index(fields=["-trend"], name="item_signals_by_trend"),
            models.Index(fields=["-trending"], name="item_signals_by_trending"),
            models.Index(fields=["-popularity"], name="item_signals_by_popularity"),
        ]

    def __str__(self) -> str:
        return self.item_id


class ReplayFigures(models.Model):
    """What one nightly replay found; rows: by number of actions of the user and by method."""

    version = models.ForeignKey(FactorVersion, null=True, on_delete=models.SET_NULL)
    rows = models.JSONField()
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        db_table = "replay_figures"
        ordering = ["-created_at", "-id"]
        verbose_name_plural = "replay figures"

    def __str__(self) -> str:
        return f"{self.created_at:%Y-%m-%d}"
