"""What one server gives to its users at most, in one place."""

from dataclasses import dataclass, field

from overtone.worker_pool import available_cores


@dataclass(frozen=True)
class Limits:
    """Bounds that keep a server of a few users answering.

    Attributes:
        upload_bytes: the largest upload.
        upload_seconds: the longest audio, counted while it is decoded as well.
        channels: the most channels of an upload.
        workers: uploads enhanced at the same time.
        waiting: uploads that may wait for a worker; further ones are told to come back.
        waiting_seconds: how long one waits at most.
        streams: live streams at the same time.
        idle_seconds: a live stream that sends or takes nothing for so long is closed.
        body_seconds: by when an upload must have arrived, and
        body_bytes_a_second: how much later by its size.
        connections: connections at the same time.
    """

    upload_bytes: int = 64 * 1024 * 1024
    upload_seconds: float = 300.0
    channels: int = 2
    workers: int = field(default_factory=available_cores)
    waiting: int = 16
    waiting_seconds: float = 60.0
    streams: int = 4
    idle_seconds: float = 20.0
    body_seconds: float = 15.0
    body_bytes_a_second: float = 100_000.0
    connections: int = 256

    @property
    def held_bytes(self) -> int:
        """How many bytes of uploads may be in memory at the same time."""
        return 4 * self.upload_bytes
