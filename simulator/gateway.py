"""Reads samples window by window; gives the messages of one gateway with the time each is due.

A gateway collects the readings of its pole's meters for one window of the batch interval, applies
the faults that were drawn for them and closes its messages. It never waits: when a message reaches
the cloud is a number it writes down.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

from ami_contract.reading import SCHEMA_VERSION, Attribute
from simulator.backhaul import OWN_MESSAGE, Fault, message_delays
from simulator.config import SimulationConfig
from simulator.encode import CONTENT_TYPE_OF_PAYLOAD, encode, encode_single
from simulator.fleet import Pole
from simulator.meters import Samples, concat
from simulator.streams import Stream


@dataclass(frozen=True)
class Message:
    """One Pub/Sub message.

    Attributes:
        data: payload.
        attributes: as `ami_contract.reading.Attribute` names them.
        readings: reading copies in the payload, damaged ones included.
        due_us: when the backhaul delivers it (µs since 1970).
    """

    data: bytes
    attributes: dict[str, str]
    readings: int
    due_us: int


class Gateway:
    """The gateway of one pole.

    Args:
        config: the simulation.
        pole: where it hangs.
    """

    def __init__(self, config: SimulationConfig, pole: Pole) -> None:
        self._config = config
        self._pole = pole
        self._stream = Stream(config.seed, "gateway", pole.gateway_id)
        self._held: dict[int, list[Samples]] = {}
        self._is_single = config.publish_mode == "single"
        self._has_faults = bool(
            config.drop_prob
            or config.bad_payload_prob
            or config.duplicate_prob
            or config.reorder_prob
            or config.silences
        )

    def window(
        self, window: int, fresh: Samples | None, taken_ms: int, closed_ms: int
    ) -> list[Message]:
        """Messages that the gateway closes at the end of a window.

        Args:
            window: number of the window since `seq_origin`; must rise from call to call.
            fresh: samples of the window's ticks.
            taken_ms: time of the window's last tick (ms since 1970).
            closed_ms: time at which its messages leave (ms since 1970).
        """
        parts = self._held.pop(window, [])
        if fresh is not None:
            parts = [*parts, *self._arriving(window, fresh)]
        return self._messages(window, parts, taken_ms, closed_ms)

    def flush(self, window: int, closed_ms: int) -> list[Message]:
        """All that is held back, at the end of a run.

        Args:
            window: number after the last window.
            closed_ms: end of the run (ms since 1970).
        """
        parts = [part for key in sorted(self._held) for part in self._held[key]]
        self._held.clear()
        return self._messages(window, parts, closed_ms, closed_ms)

    def _arriving(self, window: int, fresh: Samples) -> list[Samples]:
        """What of `fresh` goes into this window; the rest is held for later ones or lost."""
        if not self._has_faults or not fresh.fault.any():
            return [fresh]
        fault = fresh.fault
        for kind in (Fault.DUPLICATED, Fault.REORDERED):
            late = np.flatnonzero(fault == kind)
            for delay in np.unique(fresh.detail[late]).tolist():
                rows = late[fresh.detail[late] == delay]
                self._held.setdefault(window + delay, []).append(fresh.take(rows))
        now = fresh.take((fault != Fault.DROPPED) & (fault != Fault.REORDERED))
        return [now] if len(now) else []

    def _messages(
        self, window: int, parts: list[Samples], taken_ms: int, closed_ms: int
    ) -> list[Message]:
        if not parts:
            return []
        samples = concat(parts)
        payloads = self._payloads(samples)
        delays = message_delays(
            self._config, self._pole.network_profile, self._stream, window, len(payloads)
        )
        messages = []
        for index, (data, part) in enumerate(payloads):
            taken = np.datetime64(taken_ms + int(delays.intake_ms[index]), "ms")
            attributes = {
                Attribute.SCHEMA_VERSION.value: SCHEMA_VERSION,
                Attribute.CONTENT_TYPE.value: CONTENT_TYPE_OF_PAYLOAD[self._config.payload].value,
                Attribute.BATCH_ID.value: self._batch_id(window, index, data),
                Attribute.GATEWAY_ID.value: self._pole.gateway_id,
                Attribute.POLE_ID.value: self._pole.pole_id,
                Attribute.NETWORK_PROFILE.value: self._pole.network_profile,
                Attribute.GATEWAY_INGEST_TS.value: f"{taken}Z",
            }
            if len(part) == 1:
                meter = self._pole.meters[int(part.meter[0])]
                attributes[Attribute.METER_ID.value] = meter.meter_id
            due_us = closed_ms * 1000 + round(float(delays.backhaul_ms[index]) * 1000)
            messages.append(Message(data, attributes, len(part), due_us))
        return messages

    def _payloads(self, samples: Samples) -> list[tuple[bytes, Samples]]:
        if self._is_single:
            texts = encode_single(samples, self._pole)
            return [(text, samples.take(slice(i, i + 1))) for i, text in enumerate(texts)]
        alone = np.zeros(len(samples), dtype=np.bool_)
        if self._config.bad_payload_prob and self._config.payload != "arrow":
            alone = samples.fault == Fault.MALFORMED
            alone &= samples.detail >= OWN_MESSAGE
        made = []
        together = samples.take(~alone) if alone.any() else samples
        most = self._config.batch_max_readings
        for first in range(0, len(together), most):
            part = together if len(together) <= most else together.take(slice(first, first + most))
            made.append((encode(part, self._pole, self._config.payload), part))
        for row in np.flatnonzero(alone).tolist():
            part = samples.take(slice(row, row + 1))
            made.append((encode_single(part, self._pole)[0], part))
        return made

    def _batch_id(self, window: int, index: int, data: bytes) -> str:
        """Name of a batch: equal for equal (seed, pole, place in the run, content)."""
        key = f"{self._config.seed}|{self._pole.pole_id}|{window}|{index}|"
        return hashlib.blake2b(key.encode() + data, digest_size=12).hexdigest()
