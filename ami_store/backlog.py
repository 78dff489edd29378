"""What waits in Pub/Sub: reads and writes the state that the embedded server leaves for others.

The server writes it at intervals, so its age also tells whether the server runs.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta

from ami_contract.errors import TransportError
from ami_contract.lake import DataDir
from ami_store.files import write_bytes


@dataclass(frozen=True)
class Backlog:
    """What a subscription waited for at one time.

    Attributes:
        at: when.
        messages: not acknowledged.
        leased: of these, in the hands of a subscriber.
        oldest_age_s: age of the oldest one at that time, in seconds; 0 when none waits.
    """

    at: datetime
    messages: int
    leased: int
    oldest_age_s: float

    def oldest_age(self, now: datetime) -> timedelta:
        """Age of the oldest message now, provided that it still waits; zero when none waits."""
        if not self.messages:
            return timedelta()
        return timedelta(seconds=self.oldest_age_s) + max(now - self.at, timedelta())


def write_backlogs(data: DataDir, backlogs: Mapping[str, Backlog]) -> None:
    """Replace what is known of all subscriptions, by their full names; raises LakeError."""
    content = {
        name: asdict(backlog) | {"at": backlog.at.isoformat()} for name, backlog in backlogs.items()
    }
    write_bytes(data.pubsub_backlogs, json.dumps(content).encode())


def read_backlog(data: DataDir, subscription: str) -> Backlog | None:
    """What is known of a subscription (full name); None when no server has told of it.

    Raises:
        TransportError: the file is damaged; names it.
    """
    try:
        found = json.loads(data.pubsub_backlogs.read_bytes()).get(subscription)
        if found is None:
            return None
        return Backlog(**found | {"at": datetime.fromisoformat(found["at"])})
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise TransportError(
            f"{data.pubsub_backlogs} is damaged ({error}); delete it: the Pub/Sub server writes it "
            "again"
        ) from error
