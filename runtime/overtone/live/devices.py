"""Sound devices through PortAudio: which there are, how they can be opened."""

import contextlib
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Literal

from overtone.errors import OvertoneError

Kind = Literal["input", "output"]
CHANNELS: dict[Kind, tuple[int, ...]] = {"input": (1, 2), "output": (2, 1)}
RATES = (48_000, 44_100, 96_000, 32_000, 24_000, 16_000, 8_000)


class DeviceError(OvertoneError):
    """A device that is not there or cannot be opened."""


@dataclass(frozen=True)
class Port:
    """One direction of a device, as it is opened.

    Attributes:
        kind: ``input`` or ``output``.
        index: PortAudio's number of the device.
        name: with that of its interface, which stays the same when devices come and go.
        rate: in Hz.
        channels: how many are opened; speech is in all of them.
    """

    kind: Kind
    index: int
    name: str
    rate: int
    channels: int


def sounddevice() -> ModuleType:
    """Return the library.

    Raises:
        OvertoneError: PortAudio is not installed.
        ModuleNotFoundError: sounddevice is not installed.
    """
    try:
        import sounddevice as library
    except OSError:
        raise OvertoneError(
            "overtone live needs PortAudio, which is not installed: apt install libportaudio2, or the like."
        ) from None
    return library


def device_table() -> str:
    """Return all devices, a line each: number, direction, name, channels and usual rate; ``*`` marks the default."""
    library = sounddevice()
    lines = []
    for number, device in enumerate(library.query_devices()):
        for kind in CHANNELS:
            if count := device[f"max_{kind}_channels"]:
                mark = "*" if number == library.default.device[kind] else " "
                rate = f"{device['default_samplerate']:.0f} Hz"
                lines.append(f"{mark}{number:4}  {kind:6}  {_full_name(library, device)}  ({count} channels, {rate})")
    return "\n".join(lines) or "No sound device."


def refresh() -> None:
    """Look for devices again: PortAudio lists them once, when it starts."""
    library = sounddevice()
    library._terminate()
    library._initialize()


def find_port(kind: Kind, wanted: str | None, preferred_rate: int) -> Port:
    """Return how a device can be opened.

    Args:
        kind: ``input`` or ``output``.
        wanted: number or part of the name; None for the system's default.
        preferred_rate: in Hz; used where the device has it, else the device's own, else any common one.

    Raises:
        DeviceError: there is no such device, or several, or it has no rate that can be used.
    """
    library = sounddevice()
    named = int(wanted) if wanted is not None and wanted.isdecimal() else wanted
    try:
        device = library.query_devices(named, kind)
    except (ValueError, library.PortAudioError) as error:
        asked = f"--{kind} {wanted}" if wanted else f"no default {kind} device"
        raise DeviceError(f"{asked}: {error}. `overtone live --list` shows the devices.") from None
    rates = dict.fromkeys([preferred_rate, round(device["default_samplerate"]), *RATES])
    for rate in rates:
        for channels in CHANNELS[kind]:
            if _opens(library, kind, device, rate, channels):
                return Port(kind, device["index"], _full_name(library, device), rate, channels)
    raise DeviceError(
        f"{device['name']}: cannot be opened as {kind} with 1 or 2 channels at any of {', '.join(map(str, rates))} Hz. "
        "It may be in use by another program."
    )


def _opens(library: ModuleType, kind: Kind, device: dict[str, Any], rate: int, channels: int) -> bool:
    if channels > device[f"max_{kind}_channels"]:
        return False
    check = library.check_input_settings if kind == "input" else library.check_output_settings
    try:
        check(device=device["index"], channels=channels, dtype="float32", samplerate=rate)
    except (ValueError, library.PortAudioError):
        return False
    return True


def _full_name(library: ModuleType, device: dict[str, Any]) -> str:
    return f"{device['name']}, {library.query_hostapis(device['hostapi'])['name']}"


@contextlib.contextmanager
def quiet_drivers() -> Iterator[None]:
    """Keep from the terminal what PortAudio and ALSA write to standard error by themselves; Python still reaches it."""
    sys.stderr.flush()
    kept, before = os.dup(2), sys.stderr
    nowhere = os.open(os.devnull, os.O_WRONLY)
    with open(kept, "w", buffering=1, encoding=before.encoding) as sys.stderr:
        os.dup2(nowhere, 2)
        try:
            yield
        finally:
            os.dup2(kept, 2)
            os.close(nowhere)
            sys.stderr = before
