"""Speech in, enhanced speech out: whole arrays and streams, any rate and any number of channels.

A whole array is one stream in big blocks, so that both give the same samples.

Examples:
    >>> import numpy as np
    >>> import overtone
    >>> model = overtone.load("fullband")
    >>> enhanced, rate = model.enhance(np.zeros((8000, 2), np.float32), 16000)
    >>> enhanced.shape, rate
    ((24000, 2), 48000)
    >>> stream = model.stream(48000, channels=1)
    >>> stream.latency_samples
    1536
    >>> len(stream.push(np.zeros(480))), len(stream.flush())
    (480, 1536)
"""

from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from overtone.audio import Waveform, unusable_sample
from overtone.errors import OvertoneError, in_words
from overtone.model_package import Model
from overtone.model_steps import open_step
from overtone.short_time import Samples
from overtone.stream_resampler import StreamResampler

if TYPE_CHECKING:
    from overtone.audio_files.file_enhancement import EnhancedFile

LOWEST_RATE, HIGHEST_RATE = 4000, 192_000
LIKELY_CHANNELS = 8  # more than these, and more than there are samples: an array that lies on its side
SECONDS_AT_ONCE = 0.5  # bounds memory, whatever the size of a block
Block = NDArray[np.floating[Any]] | NDArray[np.int16] | NDArray[np.number[Any]]


class Enhancer:
    """A model that is ready to enhance: what `overtone.load` returns.

    Threads may share it: it does not change, and all its streams share one session of ONNX Runtime. A stream has a
    memory of its own and belongs to one thread at a time.

    Args:
        model: what `load_model` returned.
        denoise: let the model change what is below the input's own bandwidth as well: codec artefacts and noise are
            reduced there, as far as it was trained to. Without it, that part is the input's, delayed.
    """

    def __init__(self, model: Model, *, denoise: bool = False) -> None:
        self.model = model
        self.denoise = denoise

    def enhance(self, samples: Block, rate: int, output_rate: int | None = None) -> tuple[Waveform, int]:
        """Enhance a whole recording.

        Args:
            samples: ``(samples,)`` or ``(samples, channels)``, floating-point with full scale 1, or int16.
            rate: of the samples in Hz, 4 000 to 192 000.
            output_rate: of the result in Hz, the model's own where it is None.

        Returns:
            The enhanced recording as float32, aligned with the input and of the same shape, but
            ``round(samples * output_rate / rate)`` long, and its rate. It is not limited: peaks may exceed 1.

        Raises:
            OvertoneError: no samples, more channels than samples, NaN or infinite samples, an unknown form or rate.
        """
        given = np.asarray(samples)
        if given.ndim not in (1, 2) or 0 in given.shape:
            raise OvertoneError(f"Expected samples of shape (samples,) or (samples, channels), got {given.shape}.")
        if given.ndim == 2 and given.shape[1] > max(given.shape[0], LIKELY_CHANNELS):
            raise OvertoneError(
                f"Expected samples of shape (samples, channels), got {given.shape}, which has more channels than "
                "samples. Transpose it: samples.T"
            )
        stream = self.stream(rate, 1 if given.ndim == 1 else given.shape[1], output_rate)
        pushed = stream.push(given.reshape(-1, stream.channels))
        enhanced = np.concatenate([pushed, stream.flush()])[stream.latency_samples :]
        return enhanced.reshape(-1, *given.shape[1:]), stream.output_rate

    def enhance_file(self, source: Path | str, target: Path | str, output_rate: int | None = None) -> "EnhancedFile":
        """Enhance an audio file of any length, in constant memory.

        Args:
            source: anything that libsndfile reads, of any rate and number of channels.
            target: the file to write, which is replaced where it exists. Its suffix chooses the format, such as
                ``.wav``, ``.flac`` or ``.mp3``.
            output_rate: of the result in Hz, the model's own where it is None.

        Returns:
            How long it is, how long it took, and by how much it was scaled so that it does not clip.

        Raises:
            OvertoneError: the source is missing, is not audio or holds no usable samples; the target is the source,
                has an unknown suffix or cannot be written.
        """
        from overtone.audio_files.file_enhancement import enhance_file

        try:
            return enhance_file(self, Path(source), Path(target), output_rate=output_rate)
        except OSError as error:
            raise OvertoneError(in_words(error)) from None

    def stream(self, rate: int, channels: int = 1, output_rate: int | None = None) -> "EnhancerStream":
        """Start a stream.

        Args:
            rate: of the samples that will be pushed, in Hz, 4 000 to 192 000.
            channels: how many.
            output_rate: of the samples that come out, in Hz; the model's own where it is None.

        Raises:
            OvertoneError: an unknown rate, or no channel.
        """
        return EnhancerStream(self.model, rate, channels, output_rate or self.model.sample_rate, denoise=self.denoise)


class EnhancerStream:
    """Takes blocks of any size, and gives back as many samples, enhanced and late by a constant.

    After ``n`` samples in total, ``floor(n * output_rate / rate)`` have come out: where the rates are equal, every
    push returns as many samples as it took. First come ``latency_samples`` samples from before the input: zeros, but
    for the beginning of a resampling filter's answer where ``output_rate`` is not the model's. After
    `flush`, ``latency_samples + round(n * output_rate / rate)`` have come out, so that what follows the first
    ``latency_samples`` is aligned with the input. The samples do not depend on the sizes of the blocks.

    Attributes:
        rate: of what is pushed, in Hz.
        output_rate: of what comes out, in Hz.
        channels: of both.
        latency_samples: how late the output is, in samples of the output, resampling included.
        peak: largest magnitude that has come out so far; above 1 a fixed-point file would clip.
    """

    def __init__(self, model: Model, rate: int, channels: int, output_rate: int, *, denoise: bool = False) -> None:
        for name, value in (("input", rate), ("output", output_rate)):
            if value != int(value) or not LOWEST_RATE <= value <= HIGHEST_RATE:
                raise OvertoneError(f"Expected an {name} rate of {LOWEST_RATE} to {HIGHEST_RATE} Hz, got {value}.")
        if channels < 1:
            raise OvertoneError(f"Expected at least one channel, got {channels}.")
        self.rate, self.output_rate, self.channels = int(rate), int(output_rate), int(channels)
        self.peak = 0.0
        self._to_model, upper_hz = None, rate / 2
        delay = Fraction(0)
        if rate != model.sample_rate:
            self._to_model = StreamResampler(channels, self.rate, model.sample_rate)
            delay, upper_hz = self._to_model.delay, self._to_model.pass_hz
        self._step = open_step(model, channels, upper_hz, preserve=not denoise)
        self._warm_up = self._step.delay_samples
        self._pending = np.zeros((channels, 0), np.float32)
        delay += Fraction(self._step.hop_samples + self._step.delay_samples, model.sample_rate)
        self._from_model = None
        if self.output_rate != model.sample_rate:
            self._from_model = StreamResampler(channels, model.sample_rate, self.output_rate, delay)
            delay += self._from_model.delay
        self.latency_samples = int(delay * self.output_rate)
        self._ready = [self._to_output(np.zeros((channels, self._step.hop_samples), np.float32))]
        self._taken = self._given = 0
        self._flat = self.channels == 1
        self._flushed = False

    @property
    def bandwidth_hz(self) -> tuple[float, ...]:
        """Up to which frequency each channel of the input was found to have content, in Hz; 0 while nothing is known.

        It is not looked for while denoising: then it is all 0.
        """
        found = self._step.preservation
        return (0.0,) * self.channels if found is None else tuple(found.bandwidth_hz.tolist())

    @property
    def complete_share(self) -> float:
        """How much of the input was passed on, 0 to 1, because it already reaches beyond what the model extends."""
        found = self._step.preservation
        return 0.0 if found is None else found.complete_share

    @property
    def latency_seconds(self) -> float:
        """How late the output is."""
        return self.latency_samples / self.output_rate

    def push(self, block: Block) -> Waveform:
        """Take a block and return as much of the output as is due.

        Args:
            block: ``(samples,)`` for one channel or ``(samples, channels)``, any number of samples, floating-point
                with full scale 1, or int16.

        Returns:
            float32 of the same form.

        Raises:
            OvertoneError: NaN, infinite samples or some beyond 1e6, other channels than stated, another type: the
                stream has taken nothing of the block and goes on with the next one. Or a stream that was flushed.
        """
        if self._flushed:
            raise OvertoneError("The stream was flushed. Start another with Enhancer.stream.")
        samples = self._checked(np.asarray(block))
        self._flat = np.ndim(block) == 1
        self._taken += samples.shape[1]
        self._process(samples)
        return self._give(self._taken * self.output_rate // self.rate)

    def flush(self) -> Waveform:
        """Return all that has not come out yet, in the form of the last block; the stream is spent afterwards."""
        self._flushed = True
        total = self.latency_samples + (2 * self._taken * self.output_rate + self.rate) // (2 * self.rate)
        missing = Fraction(total * self.rate, self.output_rate) - self._taken
        self._process(np.zeros((self.channels, int(missing) + 1), np.float32))
        return self._give(total)

    def _checked(self, block: NDArray[np.generic]) -> Samples:
        """Return a block as float32 ``(channels, samples)``."""
        if block.shape[1:] != (self.channels,) and not (block.ndim == 1 and self.channels == 1):
            expected = "(samples,)" if self.channels == 1 else f"(samples, {self.channels})"
            raise OvertoneError(f"Expected a block of shape {expected}, got {block.shape}.")
        if block.dtype == np.int16:
            samples = block.astype(np.float32) / np.float32(2**15)
        elif np.issubdtype(block.dtype, np.floating):
            with np.errstate(over="ignore"):  # becomes infinite, which is refused below
                samples = block.astype(np.float32, copy=False)
        else:
            raise OvertoneError(f"Expected floating-point or int16 samples, got {block.dtype}.")
        samples = samples.reshape(len(samples), self.channels)
        if (unusable := unusable_sample(samples)) is not None:
            raise OvertoneError(
                f"Sample {self._taken + unusable[0]} {unusable[1]}. Nothing from there on was enhanced."
            )
        return np.ascontiguousarray(samples.T)

    def _process(self, samples: Samples) -> None:
        at_once = max(round(SECONDS_AT_ONCE * self.rate), 1)
        for start in range(0, samples.shape[1], at_once):
            self._enhance(samples[:, start : start + at_once])

    def _enhance(self, samples: Samples) -> None:
        if self._to_model is not None:
            samples = self._to_model(samples)
        self._pending = np.concatenate([self._pending, samples], axis=1)
        whole = self._pending.shape[1] - self._pending.shape[1] % self._step.hop_samples
        if whole:
            enhanced = self._step(self._pending[:, :whole])
            self._pending = self._pending[:, whole:]
            silent = min(self._warm_up, whole)
            self._warm_up -= silent
            enhanced[:, :silent] = 0  # what a model says before its first sample answers its own initial state
            self._ready.append(self._to_output(enhanced))

    def _to_output(self, samples: Samples) -> Samples:
        return samples if self._from_model is None else self._from_model(samples)

    def _give(self, total: int) -> Waveform:
        """Return what is missing to ``total`` samples given so far, in the form of the last block."""
        ready = np.concatenate(self._ready, axis=1)
        count = total - self._given
        output, self._ready = ready[:, :count], [ready[:, count:]]
        self._given = total
        self.peak = max(self.peak, float(np.abs(output).max(initial=0.0)))
        return output[0].copy() if self._flat else np.ascontiguousarray(output.T)
