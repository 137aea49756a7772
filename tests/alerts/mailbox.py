"""A real SMTP server on the loopback that keeps what it is handed."""

import email
import email.policy
import socket
import threading
from email.message import EmailMessage
from types import TracebackType
from typing import Any, Self

from aiosmtpd.controller import Controller


class Mailbox:
    """mails: what was accepted. While `refusal` is set, each mail is answered with it instead."""

    def __init__(self, port: int = 0) -> None:
        self.mails: list[EmailMessage] = []
        self.recipients: list[list[str]] = []
        self.refusal = ""
        self._arrived = threading.Condition()
        # The controller looks at its port to find out whether it listens, so it must be known before.
        with socket.create_server(("127.0.0.1", port)) as probe:
            self.port: int = probe.getsockname()[1]
        self._controller = Controller(self, hostname="127.0.0.1", port=self.port)

    def __enter__(self) -> Self:
        self._controller.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._controller.stop()

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802
        """Called by aiosmtpd for each mail; the answer is the reply to DATA."""
        if self.refusal:
            return self.refusal
        mail = email.message_from_bytes(envelope.content, policy=email.policy.default)
        assert isinstance(mail, EmailMessage)
        with self._arrived:
            self.mails.append(mail)
            self.recipients.append(list(envelope.rcpt_tos))
            self._arrived.notify_all()
        return "250 OK"

    def wait_for(self, count: int, timeout_s: float) -> list[EmailMessage]:
        """Wait until there are so many mails."""
        with self._arrived:
            assert self._arrived.wait_for(lambda: len(self.mails) >= count, timeout_s), (
                f"{len(self.mails)} of {count} mails arrived."
            )
            return list(self.mails)
