"""`overtone live`: from a microphone to headphones or a virtual cable, enhanced, until Ctrl-C."""

import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType

from rich.live import Live
from rich.text import Text

from overtone.enhancer import Enhancer
from overtone.live.devices import DeviceError, Port, device_table, find_port, quiet_drivers, refresh
from overtone.live.keys import pressed_keys
from overtone.live.playout import Tally
from overtone.live.processing import LiveProcessor
from overtone.live.session import Session
from overtone.model_package import load_model
from overtone.packed_models import default_model
from overtone.progress import console

LOOK_SECONDS, AGAIN_SECONDS = 0.1, 1.0
FIRST_LINE_SECONDS, LINE_SECONDS = 3.0, 10.0  # where standard output is no terminal
PRIORITY = -10
SWITCH_SECONDS = 0.001  # how long a thread of Python may keep the others, the devices' among them, waiting
BAR, BAR_FROM_DB = 10, -60.0


@dataclass(frozen=True)
class LiveOptions:
    """Choices of a live session.

    Attributes:
        input: number or part of the name of the input device, None for the system's default.
        output: the same of the output device.
        profile: which packed model, where none is named.
        model: folder of an exported model.
        denoise: whether the model may change what the input already holds.
        buffer_seconds: what each device is asked to hold, None for the least that it offers.
    """

    input: str | None = None
    output: str | None = None
    profile: str = "live"
    model: Path | None = None
    denoise: bool = False
    buffer_seconds: float | None = None


def show_devices() -> None:
    """Print the sound devices.

    Raises:
        OvertoneError: PortAudio is not installed.
    """
    console.print(device_table(), highlight=False, markup=False, soft_wrap=True)


def live(options: LiveOptions) -> None:
    """Enhance from the input device to the output device until Ctrl-C, SIGTERM or the key q.

    Args:
        options: the choices.

    Raises:
        OvertoneError: PortAudio, a device or the model is missing.
    """
    model = load_model(options.model or default_model(options.profile))
    program = _Program(options, Enhancer(model, denoise=options.denoise))
    if sys.platform != "win32":  # which has no such call
        with contextlib.suppress(OSError):  # not permitted to everyone
            os.nice(PRIORITY)
    before = sys.getswitchinterval(), signal.signal(signal.SIGTERM, _interrupt)
    sys.setswitchinterval(SWITCH_SECONDS)
    try:
        with contextlib.suppress(KeyboardInterrupt), quiet_drivers():
            program.run()
    finally:
        sys.setswitchinterval(before[0])
        signal.signal(signal.SIGTERM, before[1])
    program.say_totals()


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


class _Program:
    """What the user sees and presses, over all sessions: one for each time that the devices are opened."""

    def __init__(self, options: LiveOptions, enhancer: Enhancer) -> None:
        self._options, self._enhancer = options, enhancer
        self._tally = Tally()
        self._enhanced = True
        self._latency = 0.0
        self._started = time.monotonic()

    def run(self) -> None:
        """Enhance, whatever devices come and go, until q or Ctrl-C."""
        session = self._open()
        if console.is_terminal:
            _say("Space switches between enhanced and original; q ends.")
        with pressed_keys() as keys:
            while True:
                try:
                    gone = self._watch(session, keys)
                finally:
                    session.close()
                if gone is None:
                    return
                _say(f"{gone.name} went away. Waiting for it to come back; Ctrl-C ends.")
                session = self._open_again()

    def _open(self) -> Session:
        rate = self._enhancer.model.sample_rate
        source, target = find_port("input", self._options.input, rate), find_port("output", self._options.output, rate)
        processor = LiveProcessor(self._enhancer, source.rate, target.rate)
        processor.enhanced = self._enhanced
        session = Session(processor, source, target, self._tally, self._options.buffer_seconds)
        _say(f"From {source.name} ({source.rate} Hz) to {target.name} ({target.rate} Hz).")
        # Numbers change when devices come and go; names do not. A default may well be another device next time.
        self._options = replace(
            self._options,
            input=self._options.input and source.name,
            output=self._options.output and target.name,
        )
        return session

    def _open_again(self) -> Session:
        while True:
            time.sleep(AGAIN_SECONDS)
            refresh()
            with contextlib.suppress(DeviceError):
                return self._open()

    def _watch(self, session: Session, keys: Callable[[], str]) -> Port | None:
        """Show how the session does until a device goes away, which is returned, or the user ends it."""
        shown = Live(console=console, auto_refresh=False, transient=True) if console.is_terminal else None
        next_line = time.monotonic() + FIRST_LINE_SECONDS
        with shown or contextlib.nullcontext():
            while (gone := session.gone()) is None:
                for key in keys():
                    if key in "qQ":
                        return None
                    self._enhanced = session.processor.enhanced = self._enhanced ^ (key == " ")
                self._latency = session.latency_seconds or self._latency
                if shown:
                    shown.update(Text(self._bars(session.processor), overflow="ellipsis", no_wrap=True), refresh=True)
                elif time.monotonic() >= next_line:
                    next_line = time.monotonic() + LINE_SECONDS
                    source, target = session.processor.input_level.read(), session.processor.output_level.read()
                    _say(f"Peaks {source:.0f} dB in, {target:.0f} dB out. {self._totals()}")
                time.sleep(LOOK_SECONDS)
        return gone

    def _bars(self, processor: LiveProcessor) -> str:
        heard = "enhanced" if self._enhanced else "original"
        levels = f"in {_bar(processor.input_level.read())}  out {_bar(processor.output_level.read())}"
        facts = f"{1000 * self._latency:.0f} ms  missed {self._tally.missed}"
        return f"{heard}  {levels}  {facts}"

    def _totals(self) -> str:
        drift = f", corrections of drifting clocks: {self._tally.corrections}" if self._tally.corrections else ""
        return f"Latency {1000 * self._latency:.0f} ms, missed blocks: {self._tally.missed}{drift}."

    def say_totals(self) -> None:
        """Say how it went."""
        _say(f"Ended after {time.monotonic() - self._started:.0f} s. {self._totals()}")


def _bar(level_db: float) -> str:
    filled = round(BAR * min(max(1 - level_db / BAR_FROM_DB, 0), 1))
    return f"{'▮' * filled}{'▯' * (BAR - filled)} {level_db:4.0f} dB"


def _say(text: str) -> None:
    console.print(text, highlight=False, markup=False, soft_wrap=True)
