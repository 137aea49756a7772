"""What a saved or deleted row does to QStash: after the commit, never inside the transaction."""

import functools
from typing import Any

from django.db import transaction
from django.db.models.signals import post_delete, post_save
from django.dispatch import receiver

from scheduling import sync
from scheduling.models import ScheduledJob, ScheduleRemoval


@receiver(post_save, sender=ScheduledJob)
def push_saved_job(instance: ScheduledJob, *, raw: bool, **kwargs: Any) -> None:
    if raw:
        return  # A fixture is being loaded; init_qstash pushes what it holds.
    ScheduleRemoval.objects.filter(schedule_id=instance.schedule_id).delete()
    if not instance.is_pushed:
        transaction.on_commit(functools.partial(sync.push, instance.pk), robust=True)


@receiver(post_delete, sender=ScheduledJob)
def remove_deleted_job(instance: ScheduledJob, **kwargs: Any) -> None:
    # The request is part of the same transaction, so it is there exactly when the row is gone, and
    # stays until QStash has done it.
    removal, _ = ScheduleRemoval.objects.get_or_create(schedule_id=instance.schedule_id)
    transaction.on_commit(functools.partial(sync.remove, removal.schedule_id), robust=True)
