"""How much one server gives to its users, in one place."""

from dataclasses import dataclass, field

from overtone.worker_pool import available_cores


@dataclass(frozen=True)
class Limits:
    """Bounds that keep a server of a few users answering; a reverse proxy in front of it sets finer ones.

    Attributes:
        upload_bytes: the largest upload.
        held_bytes: all uploads and answers that may be in memory at the same time.
        upload_seconds: the longest audio; frames are counted while they are decoded as well.
        channels: the most channels of an upload.
        workers: uploads enhanced at the same time.
        waiting: uploads that may wait for a worker; further ones are answered 503.
        streams: live streams at the same time.
        idle_seconds: a live stream is closed after so long without a message, or without reading its answer.
        body_seconds: the longest time in which an upload must arrive, and in which its answer must be read.
        connections: connections at the same time.
    """

    upload_bytes: int = 64 * 1024 * 1024
    held_bytes: int = 512 * 1024 * 1024
    upload_seconds: float = 300.0
    channels: int = 2
    workers: int = field(default_factory=available_cores)
    waiting: int = 16
    streams: int = 4
    idle_seconds: float = 20.0
    body_seconds: float = 300.0
    connections: int = 256

    @property
    def longest(self) -> str:
        """The longest audio in words, the same in every sentence."""
        seconds = self.upload_seconds
        return f"{seconds:g} seconds" if seconds < 60 else f"{seconds / 60:g} minutes"

    @property
    def largest(self) -> str:
        """The largest upload in words."""
        return f"{self.upload_bytes / 2**20:g} MiB"

    @property
    def too_large(self) -> str:
        """What is said of a larger one, by the page before it sends it and by the server."""
        return (
            f"The upload is larger than {self.largest}. "
            "Cut it, send FLAC, or use `overtone enhance`, which has no limit."
        )

    def facts(self) -> dict[str, float | str]:
        """The limits that a user needs to know."""
        names = ("upload_bytes", "upload_seconds", "channels", "streams", "too_large")
        return {name: getattr(self, name) for name in names}
