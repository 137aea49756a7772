"""How alerts reach somebody: one module per kind of channel, one line per kind here."""

from alerts.channels.apprise import AppriseAddress
from alerts.channels.base import ChannelKind
from alerts.channels.email import Email
from alerts.channels.telegram import Telegram
from alerts.channels.webhook import Webhook

CHANNELS: dict[str, ChannelKind] = {
    kind.key: kind for kind in (Email(), Telegram(), Webhook(), AppriseAddress())
}
