"""Losses that every architecture may use, all blind above the band in which the target has content."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from models.batch_share import drawn_for_batch, mean_over_shares

LOG_FLOOR = 1e-8  # of power, the field's clamp in the log-spectral distance
QUIET_DB, LOUD_DB = -60.0, -30.0  # of frames, against the loudest
QUIET_POWER = 1e-7
CROSSOVER, CROSSOVER_BANDS = (0.8, 1.6), 16  # times the cutoff: slopes of soft filters end there
CROSSOVER_WINDOW_SECONDS = 0.064
LOUD_RANGE_DB = 40.0


def band_mask(band_hz: Tensor, bins: int, sample_rate: int) -> Tensor:
    """Return 1 for bins up to each clip's ``band_hz`` and 0 above, ``(batch, bins, 1)``.

    Much speech was once low-passed by a lossy encoder; what is above is the encoder's doing and must not be learnt.

    Args:
        band_hz: where each clip's content ends, in Hz, ``(batch,)``.
        bins: number of bins from 0 Hz to half the sample rate.
        sample_rate: in Hz.
    """
    frequencies = torch.linspace(0, sample_rate / 2, bins, device=band_hz.device)
    return (frequencies[None, :] <= band_hz[:, None]).float()[..., None]


def with_target_above_band(estimate: Tensor, wideband: Tensor, band_hz: Tensor, sample_rate: int) -> Tensor:
    """Return the estimate with the target's content above each clip's band in place of its own.

    Whatever looks at the result, a distance or a critic, sees no difference above ``band_hz``, and no gradient comes
    from there. It is what every architecture's losses on waveforms start with.

    Args:
        estimate: ``(batch, samples)``.
        wideband: ``(batch, samples)``.
        band_hz: ``(batch,)`` in Hz.
        sample_rate: of both waveforms in Hz.
    """
    samples = estimate.shape[-1]
    difference = torch.fft.rfft(wideband - estimate)
    above = 1 - band_mask(band_hz, difference.shape[-1], sample_rate)[..., 0]
    return estimate + torch.fft.irfft(difference * above, samples)


class MultiResolutionSpectralLoss(nn.Module):
    """Log-spectral distances and spectral convergence over several resolutions (Yamamoto 2020, eq. 3 to 6).

    Deliberate differences: the log term of each resolution is the root of the mean square over bins, which is the
    log-spectral distance that the field reports, on request apart for the band that is there and the one that is
    missing; and a term on the log energies of linear bands ties the envelope, which single bins of noise-like speech
    cannot.

    Args:
        sample_rate: rate of the waveforms in Hz.
        resolutions: transform sizes in samples; windows are as long, hops a quarter.
        bands: linear bands of the envelope term.
    """

    def __init__(self, sample_rate: int, resolutions: Sequence[int] = (2048, 1024, 512, 256), bands: int = 32) -> None:
        super().__init__()
        self.sample_rate, self.resolutions, self.bands = sample_rate, tuple(resolutions), bands
        for n_fft in self.resolutions:
            self.register_buffer(f"window_{n_fft}", torch.hann_window(n_fft), persistent=False)

    def drawn_resolution(self) -> int:
        """Draw the resolution that a training step is judged at: each step costs a quarter, and four teach more."""
        return self.resolutions[int(torch.randint(len(self.resolutions), ()))]

    def forward(
        self,
        preds: Tensor,
        target: Tensor,
        band_hz: Tensor,
        *,
        cutoff_hz: Tensor | None = None,
        retained_weight: float = 1.0,
        quiet_weight: float = 1.0,
        envelope_weight: float = 1.0,
        resolutions: Sequence[int] | None = None,
    ) -> Tensor:
        """Return a scalar, lower is better.

        Args:
            preds: ``(batch, samples)``.
            target: ``(batch, samples)``.
            band_hz: where each clip's own content ends, ``(batch,)`` in Hz.
            cutoff_hz: where each narrowband's content ends, ``(batch,)`` in Hz: the distances below and above are then
                two terms, so that the large one does not drown the small one. None for one distance.
            retained_weight: of the distance below ``cutoff_hz``.
            quiet_weight: of the distance above ``cutoff_hz`` in frames in which the target's missing band is
                `QUIET_DB` below its loudest; it rises to 1 at `LOUD_DB`. Pauses are most of speech's frames, hold
                noise that nobody can foretell, and are hardly heard.
            envelope_weight: of the distance of log energies in bands.
            resolutions: some of the loss's own; None for all.
        """
        terms = []
        for n_fft in resolutions or self.resolutions:
            window = self.get_buffer(f"window_{n_fft}")
            power, target_power = (_power_spectra(one, window, n_fft // 4) for one in (preds, target))
            mask = band_mask(band_hz, power.shape[1], self.sample_rate)
            difference = log_power(power) - log_power(target_power)
            if cutoff_hz is None:
                distance = _root_mean_square(difference, mask).mean()
            else:
                retained = band_mask(cutoff_hz, power.shape[1], self.sample_rate)
                low, high = mask * retained, mask * (1 - retained)
                loudness = self._loudness_weight(high * target_power, quiet_weight)
                distance = _split_distance(difference, low, high, retained_weight, loudness)
            terms.append(
                distance
                + 0.5 * _convergence(power, target_power, mask)
                + envelope_weight * self._envelope_loss(mask * power, mask * target_power, mask)
            )
        return torch.stack(terms).mean()

    def _loudness_weight(self, missing_power: Tensor, quiet_weight: float) -> Tensor:
        """Return a weight for each frame ``(batch, frames)``, 1 on average over the batch."""
        level_db = 10 * torch.log10(missing_power.sum(dim=1) + QUIET_POWER)
        relative_db = level_db - level_db.amax(dim=1, keepdim=True)
        weight = ((relative_db - QUIET_DB) / (LOUD_DB - QUIET_DB)).clamp(quiet_weight, 1)
        return weight / (mean_over_shares(weight.mean()) if self.training else weight.mean())

    def _envelope_loss(self, power: Tensor, target_power: Tensor, mask: Tensor) -> Tensor:
        per_band = max(power.shape[1] // self.bands, 4)
        pool = nn.functional.avg_pool1d
        energy, target_energy = (pool(p.transpose(1, 2), per_band).transpose(1, 2) for p in (power, target_power))
        band_is_seen = pool(mask.transpose(1, 2), per_band).transpose(1, 2).eq(1).float()
        difference = (log_power(energy) - log_power(target_energy)).abs() * band_is_seen
        seen = band_is_seen.sum() * energy.shape[-1]
        return difference.sum() / (mean_over_shares(seen) if self.training else seen).clamp_min(1)


class CrossoverLoss(nn.Module):
    """Level errors where what is there meets what is made: a hole or a bump beside the cutoff.

    The spectral loss sees hundreds of bins above a cutoff, and the few beside it hardly count there. Narrow bands from
    `CROSSOVER` times the cutoff have one level error each, averaged over the loud frames of a clip, so that chance in
    single frames costs nothing and a bias costs all of it.

    Args:
        sample_rate: rate of the waveforms in Hz.
    """

    def __init__(self, sample_rate: int) -> None:
        super().__init__()
        self.sample_rate = sample_rate
        self.n_fft = 2 * round(CROSSOVER_WINDOW_SECONDS * sample_rate / 2)
        self.register_buffer("window", torch.hann_window(self.n_fft), persistent=False)

    def forward(self, preds: Tensor, target: Tensor, band_hz: Tensor, cutoff_hz: Tensor) -> Tensor:
        """Return a scalar in units of 10 dB, lower is better; bands above a clip's own do not count.

        Args:
            preds: ``(batch, samples)``.
            target: ``(batch, samples)``.
            band_hz: where each clip's own content ends, ``(batch,)`` in Hz.
            cutoff_hz: where each narrowband's content ends, ``(batch,)`` in Hz.
        """
        window = self.get_buffer("window")
        power, target_power = (_power_spectra(one, window, self.n_fft // 2) for one in (preds, target))
        levels = log_power(target_power.sum(dim=1))
        loud = (levels >= levels.amax(dim=1, keepdim=True) - LOUD_RANGE_DB / 10).float()[:, None]
        edges_hz = torch.linspace(*CROSSOVER, CROSSOVER_BANDS + 1, device=cutoff_hz.device) * cutoff_hz[:, None]
        seen = (edges_hz[:, 1:] <= band_hz[:, None]).float()
        bands = self._bands(edges_hz)
        difference = log_power(bands @ power) - log_power(bands @ target_power)
        errors = ((difference * loud).sum(dim=2) / loud.sum(dim=2)).abs() * seen
        total = seen.sum()
        return errors.sum() / (mean_over_shares(total) if self.training else total).clamp_min(1)

    def _bands(self, edges_hz: Tensor) -> Tensor:
        """Return 1 for the bins between neighbouring edges ``(batch, bands + 1)``, ``(batch, bands, bins)``."""
        frequencies = torch.linspace(0, self.sample_rate / 2, self.n_fft // 2 + 1, device=edges_hz.device)
        above = (frequencies >= edges_hz[..., None]).float()
        return above[:, :-1] - above[:, 1:]


def _power_spectra(waveform: Tensor, window: Tensor, hop_length: int) -> Tensor:
    """Return the power ``(batch, bins, frames)`` of ``(batch, samples)`` under a window."""
    spectra = torch.stft(waveform, len(window), hop_length, window=window, return_complex=True)
    return spectra.real.square() + spectra.imag.square()


def _split_distance(difference: Tensor, low: Tensor, high: Tensor, retained_weight: float, loudness: Tensor) -> Tensor:
    """Return the distances in the band that is there and in the missing one, weighed, averaged over frames."""
    missing = high.sum(dim=1).gt(0).float()  # a clip that lacks no band has one distance, with the full weight
    weight = 1 + missing * (retained_weight - 1)
    distance = weight * _root_mean_square(difference, low)
    return (distance + missing * loudness * _root_mean_square(difference, high)).mean()


def _root_mean_square(difference: Tensor, mask: Tensor) -> Tensor:
    """Return the root mean square ``(batch, frames)`` over the bins of a mask ``(batch, bins, 1)``."""
    return ((mask * difference.square()).sum(dim=1) / mask.sum(dim=1).clamp_min(1) + 1e-8).sqrt()


def _convergence(power: Tensor, target_power: Tensor, mask: Tensor) -> Tensor:
    error = mask * ((power + LOG_FLOOR).sqrt() - (target_power + LOG_FLOOR).sqrt())
    return (error.square().sum((1, 2)) / ((mask * target_power).sum((1, 2)) + LOG_FLOOR)).sqrt().mean()


def log_power(power: Tensor) -> Tensor:
    """Return log10 of power, clamped as the field's log-spectral distance is."""
    return torch.log10(power.clamp_min(LOG_FLOOR))


def gradient_penalty(critic: Callable[[Tensor], Tensor], real: Tensor, fake: Tensor) -> Tensor:
    """Return the two-sided penalty on the critic's gradient between real and fake (Gulrajani 2017, eq. 3).

    Args:
        critic: maps waveforms to one score each.
        real: waveforms ``(batch, ...)``.
        fake: generated ones, in the same shape.
    """
    shape = [1] * (real.dim() - 1)
    share = drawn_for_batch(lambda examples: torch.rand(examples, *shape), real.shape[0]).to(real.device)
    between = (share * real + (1 - share) * fake).detach().requires_grad_(True)
    scores = critic(between)
    (gradient,) = torch.autograd.grad(scores.sum(), between, create_graph=True)
    return (gradient.flatten(1).norm(dim=1) - 1).square().mean()
