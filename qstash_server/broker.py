"""The parts of a running server, as the API sees them."""

from dataclasses import dataclass

from qstash_server.clock import Clock
from qstash_server.dispatch.delivery import Courier
from qstash_server.dispatch.scheduler import Scheduler
from qstash_server.firewall import Firewall
from qstash_server.settings import Settings
from qstash_server.state.database import Database


@dataclass(frozen=True, kw_only=True)
class Broker:
    """Every handler of the API gets one."""

    settings: Settings
    clock: Clock
    database: Database
    courier: Courier
    scheduler: Scheduler
    firewall: Firewall
