"""What a job raises, named by what the caller of the webhook does next."""


class JobError(Exception):
    """A job did not do its work, for a reason that its message tells to the owner."""


class RetryLater(JobError):
    """The work could not be done now; the same call may succeed later. Answered with 503 and Retry-
    After.

    retry_after_s: seconds until it makes sense to try again.
    """

    def __init__(self, message: str, *, retry_after_s: int = 60) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class PayloadRefused(JobError):
    """The call can never succeed as it is. Answered with 489 to QStash, which gives up, and 400 to
    others.
    """
