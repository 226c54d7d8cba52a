"""The family of reconstructions: parity with librosa, exactness with the true phase, streams that equal whole files."""

import itertools

import librosa
import numpy as np
import pytest
import torch
from waveforms import speech_like, tone, white

from experiments.registry import build_model
from models.reconstruction.methods import METHODS, reconstruct
from models.reconstruction.rtisi import RealTimeInversion
from models.streaming.causal_layers import Analysis, History, Synthesis
from models.whole_file import WholeFileSpectrogram
from overtone.audio import resample
from overtone.errors import OvertoneError

RATE, N_FFT, HOP = 16000, 512, 128
ITERATED = [name for name, method in METHODS.items() if method.iterations is not None]


def spectra(waveform):
    window = torch.hann_window(N_FFT, dtype=waveform.dtype)
    return torch.stft(waveform, N_FFT, HOP, window=window, return_complex=True)


def voiced(samples=12000, pitch=140):
    time = np.arange(samples) / RATE
    phase = 2 * np.pi * pitch * (time + 0.02 * np.sin(9 * time))
    harmonics = sum(np.sin(k * phase) / k for k in range(1, 7600 // pitch))
    return (0.05 * (1 + np.sin(15 * time)) * harmonics).astype(np.float32) + white(samples, level=1e-3)


def pair(samples=12000):
    wideband = np.stack([voiced(samples), speech_like(RATE, samples)])
    narrowband = np.stack([resample(resample(one, RATE, RATE // 2), RATE // 2, RATE) for one in wideband])
    return torch.from_numpy(wideband), torch.from_numpy(narrowband[:, :samples])


def made(method, wideband, narrowband, **options):
    return reconstruct(
        spectra(wideband).abs(),
        method,
        n_fft=N_FFT,
        hop_length=HOP,
        samples=wideband.shape[-1],
        **{
            "narrowband": narrowband,
            "sample_rate": RATE,
            "cutoff_hz": 4000,
            "phase": spectra(wideband).angle(),
            **options,
        },
    )


def inconsistency_db(waveform, wanted):
    return float(20 * torch.log10((spectra(waveform).abs() - wanted).norm() / wanted.norm()))


@pytest.mark.parametrize(("method", "momentum"), [("griffin_lim", 0.0), ("fast_griffin_lim", 0.99)])
@pytest.mark.parametrize("iterations", [0, 1, 8])
def test_griffin_lim_is_librosas_from_the_same_phase(method, momentum, iterations):
    wideband, _ = pair()
    ours = made(method, wideband, None, iterations=iterations)
    for index, one in enumerate(spectra(wideband).abs().numpy()):
        theirs = librosa.griffinlim(
            one,
            n_iter=iterations,
            hop_length=HOP,
            momentum=momentum,
            init=None,
            pad_mode="reflect",
            length=wideband.shape[-1],
        )
        np.testing.assert_allclose(ours[index].numpy(), theirs, atol=2e-3 * np.abs(theirs).max())


@pytest.mark.parametrize(("method", "momentum"), [("griffin_lim", 0.0), ("fast_griffin_lim", 0.99)])
def test_spectral_convergence_is_librosas_after_many_iterations(method, momentum):
    """Rounding grows over iterations, so that samples drift apart where the quality does not."""
    wideband, _ = pair()
    wanted = spectra(wideband[:1]).abs()
    theirs = librosa.griffinlim(
        wanted[0].numpy(), n_iter=32, hop_length=HOP, momentum=momentum, init=None, pad_mode="reflect", length=12000
    )
    convergence = [
        float((spectra(one).abs() - wanted).norm() / wanted.norm())
        for one in (made(method, wideband[:1], None), torch.from_numpy(theirs)[None])
    ]
    assert convergence[0] == pytest.approx(convergence[1], abs=1e-3)


@pytest.mark.parametrize("momentum", ["", "fast_"])
def test_the_iteration_from_a_given_phase_is_torchaudios(momentum):
    """From the phase of silence, which is zero everywhere."""
    wideband, _ = pair()
    silence = torch.zeros_like(wideband)
    ours = made(f"{momentum}griffin_lim_from_narrowband", wideband, silence, iterations=6)
    torchaudios = made(f"{momentum}griffin_lim", wideband, None, iterations=6)
    torch.testing.assert_close(ours, torchaudios, atol=2e-4, rtol=0)


def test_the_true_phase_gives_the_waveform():
    wideband, _ = pair()
    torch.testing.assert_close(made("given", wideband, None), wideband, atol=1e-5, rtol=0)
    for method in ("griffin_lim_from_narrowband", "fast_griffin_lim_from_narrowband"):
        torch.testing.assert_close(made(method, wideband, wideband, iterations=4), wideband, atol=1e-4, rtol=0)
    for method in ("folded_phase", "copied_phase", "low_phase_kept_folded", "rtisi_la_low_phase_kept"):
        restored = made(method, wideband, wideband, cutoff_hz=RATE / 2 + 100, iterations=1)
        torch.testing.assert_close(restored, wideband, atol=1e-4, rtol=0)


def test_zero_phase_is_the_plain_inverse():
    wideband, _ = pair()
    magnitude = spectra(wideband).abs()
    inverse = librosa.istft(magnitude[0].numpy().astype(complex), hop_length=HOP, length=wideband.shape[-1])
    np.testing.assert_allclose(made("inverse_fft", wideband, None)[0].numpy(), inverse, atol=1e-5)


@pytest.mark.parametrize("method", ITERATED)
def test_iterations_bring_the_magnitudes_nearer(method):
    wideband, narrowband = pair()
    wanted = spectra(wideband).abs()
    distances = [inconsistency_db(made(method, wideband, narrowband, iterations=count), wanted) for count in (0, 2, 8)]
    assert distances[-1] < distances[0] - 2
    assert all(later < earlier + 0.5 for earlier, later in itertools.pairwise(distances))


@pytest.mark.parametrize("method", [name for name, one in METHODS.items() if "cutoff" in one.needs])
def test_the_narrowbands_phase_is_worth_many_iterations(method):
    wideband, narrowband = pair()
    wanted = spectra(wideband).abs()
    searched = inconsistency_db(made("fast_griffin_lim", wideband, narrowband, iterations=8), wanted)
    assert inconsistency_db(made(method, wideband, narrowband, iterations=0), wanted) < searched


@pytest.mark.parametrize("method", ["low_phase_kept_folded", "low_phase_kept_copied", "rtisi_la_low_phase_kept"])
def test_the_kept_phase_leaves_the_low_band_as_the_narrowband_has_it(method):
    wideband, narrowband = pair()
    low = spectra(made(method, wideband, narrowband, iterations=8) - wideband)[:, : int(3500 * N_FFT / RATE)]
    assert low.abs().square().sum() < 1e-3 * spectra(wideband).abs().square().sum()


@pytest.mark.parametrize(("method", "image_hz"), [("folded_phase", 8000 - 1000), ("copied_phase", 4000 + 1000)])
def test_the_raised_phase_is_that_of_a_modulated_tone(method, image_hz):
    """A tone at 1 kHz continues as its image at full consistency: frames agree about the phase."""
    narrowband = torch.from_numpy(tone(1000, RATE, 0.5))[None]
    # Folding is between the last bin that is there and the first that is not.
    cutoff_bins = int(4000 * N_FFT / RATE)
    period = 2 * cutoff_bins - 1 if method == "folded_phase" else cutoff_bins
    exact_hz = period * RATE / N_FFT - 1000 if method == "folded_phase" else period * RATE / N_FFT + 1000
    assert exact_hz == pytest.approx(image_hz, abs=RATE / N_FFT)
    image = torch.from_numpy(tone(exact_hz, RATE, 0.5))[None]
    wanted = spectra(image).abs()
    restored = reconstruct(
        wanted, method, n_fft=N_FFT, hop_length=HOP, narrowband=narrowband, sample_rate=RATE, cutoff_hz=4000
    )
    assert inconsistency_db(restored[:, N_FFT:-N_FFT], spectra(image[:, N_FFT:-N_FFT]).abs()) < -35


@pytest.mark.parametrize("cutoff_hz", [500, 2000, 3999.9, 8000, 9000])
@pytest.mark.parametrize("method", ["folded_phase", "low_phase_kept_copied"])
def test_any_cutoff_is_fine(method, cutoff_hz):
    wideband, narrowband = pair(4000)
    assert torch.isfinite(made(method, wideband, narrowband, cutoff_hz=cutoff_hz, iterations=1)).all()


def test_the_cutoff_is_measured_when_nobody_gives_it():
    wideband, narrowband = pair()
    measured = made("copied_phase", wideband, narrowband, cutoff_hz=None)
    wanted = spectra(wideband).abs()
    known = inconsistency_db(made("copied_phase", wideband, narrowband), wanted)
    assert inconsistency_db(measured, wanted) < known + 3


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("samples", [1, 2, 300, 511, 512, 513, 1999])
def test_any_length_and_silence(method, samples):
    noise = torch.from_numpy(white(samples))[None]
    batch = torch.cat([noise, torch.zeros_like(noise)])
    padded = torch.nn.functional.pad(batch, (0, max(N_FFT - samples, 0)))
    target = spectra(padded)
    waveform = reconstruct(
        target.abs(),
        method,
        n_fft=N_FFT,
        hop_length=HOP,
        narrowband=batch,
        sample_rate=RATE,
        phase=target.angle(),
        iterations=2,
    )
    assert waveform.shape == batch.shape
    assert waveform.dtype == torch.float32
    assert torch.isfinite(waveform).all()
    assert not waveform[1].any()


@pytest.mark.parametrize("method", METHODS)
def test_a_batch_is_its_items_and_repeats_itself(method):
    # Iterations amplify rounding, which differs between batch sizes and processors. In double precision the amplified
    # rounding stays below the float32 step of full scale, and a waveform that depended on its neighbours would not.
    wideband, narrowband = (waveform.double() for waveform in pair(6000))
    together = made(method, wideband, narrowband, iterations=3)
    alone = [made(method, wideband[i : i + 1], narrowband[i : i + 1], iterations=3) for i in range(2)]
    torch.testing.assert_close(together, torch.cat(alone), atol=2**-24, rtol=0)
    torch.testing.assert_close(together, made(method, wideband, narrowband, iterations=3), atol=0, rtol=0)


class TestRealTimeInversion:
    def inverted_in_blocks(self, inversion, magnitudes, sizes, known=None):
        outputs, past, start = [], None, 0
        for size in sizes:
            history, part = History(past), slice(start, start + size)
            outputs.append(inversion(magnitudes[..., part], history, None if known is None else known[..., part]))
            assert outputs[-1].shape == (len(magnitudes), size * inversion.hop_length)
            past, start = history.next, start + size
        return torch.cat(outputs, dim=1)

    @pytest.mark.parametrize("look_ahead", [0, 1, 3])
    @pytest.mark.parametrize("with_known", [False, True])
    def test_a_stream_in_any_blocks_equals_one_block(self, look_ahead, with_known):
        wideband, _ = pair(6000)
        target = spectra(wideband)
        known = None
        if with_known:
            known = target.sgn()
            known[:, 100:] = 0
        inversion = RealTimeInversion(torch.hann_window(N_FFT), HOP, look_ahead, iterations=2)
        frames = target.shape[-1]
        whole = inversion(target.abs(), History(), known)
        for sizes in ([1] * frames, [0, 5, 1, 17, 0, frames - 23]):
            streamed = self.inverted_in_blocks(inversion, target.abs(), sizes, known)
            torch.testing.assert_close(streamed, whole, atol=1e-6, rtol=0)

    def test_reconstruct_is_the_stream_inside_the_file(self):
        wideband, _ = pair(6000)
        offline = made("rtisi_la", wideband, None, iterations=2)
        inversion = RealTimeInversion(torch.hann_window(N_FFT), HOP, 3, iterations=2)
        magnitudes = spectra(wideband).abs()
        stream = self.inverted_in_blocks(inversion, magnitudes, [1] * magnitudes.shape[-1])
        # Centred frames begin half a window early.
        stream = stream[:, 3 * HOP + N_FFT // 2 :]
        inside = slice(N_FFT, stream.shape[1])
        torch.testing.assert_close(offline[:, inside], stream[:, inside], atol=1e-5, rtol=0)

    @pytest.mark.parametrize("look_ahead", [0, 2, 3])
    def test_an_impulse_comes_out_after_the_stated_delay(self, look_ahead):
        waveform = torch.zeros(1, 40 * HOP)
        waveform[0, 15 * HOP + 40] = 1.0
        analysis = Analysis(N_FFT, HOP)
        inversion = RealTimeInversion(analysis.window, HOP, look_ahead, iterations=8)
        output = inversion(analysis(waveform, History()).abs(), History())[0]
        centre = (output.square() * torch.arange(len(output))).sum() / output.square().sum()
        assert float(centre) == pytest.approx(15 * HOP + 40 + inversion.delay_samples, abs=HOP)
        assert not output[: 15 * HOP + inversion.delay_samples - N_FFT].abs().gt(1e-6).any()

    def test_it_takes_the_place_of_synthesis_when_the_phase_is_known(self):
        waveform = torch.from_numpy(voiced(30 * HOP))[None]
        analysis, synthesis = Analysis(N_FFT, HOP), Synthesis(N_FFT, HOP)
        inversion = RealTimeInversion(analysis.window, HOP, look_ahead=2, iterations=1)
        target = analysis(waveform, History())
        output = inversion(target.abs(), History(), target.sgn())
        expected = synthesis(target, History())
        torch.testing.assert_close(output[:, 2 * HOP :], expected[:, : -2 * HOP], atol=1e-5, rtol=0)
        assert inversion.delay_samples == N_FFT - HOP + 2 * HOP

    def test_later_frames_change_nothing_that_has_left(self):
        magnitudes = spectra(pair(6000)[0]).abs()
        changed = magnitudes.clone()
        changed[..., 30:] *= 3
        inversion = RealTimeInversion(torch.hann_window(N_FFT), HOP, 3, iterations=2)
        before, after = inversion(magnitudes, History()), inversion(changed, History())
        torch.testing.assert_close(before[:, : 30 * HOP], after[:, : 30 * HOP], atol=0, rtol=0)
        assert (before[:, 30 * HOP :] - after[:, 30 * HOP :]).abs().max() > 1e-2

    def test_a_window_that_does_not_overlap_to_a_constant_is_refused(self):
        with pytest.raises(ValueError, match="constant"):
            RealTimeInversion(torch.hann_window(N_FFT), N_FFT // 2)
        with pytest.raises(ValueError, match="multiple"):
            RealTimeInversion(torch.hann_window(N_FFT), 100)


class TestWholeFile:
    """The seeds' frame keeps its behaviour and reaches the rest of the family."""

    @pytest.mark.parametrize("samples", [12000, 12001, 100])
    def test_the_seeds_griffin_lim_is_the_one_with_momentum(self, samples):
        waveform = pair(12001)[0][:1, :samples]
        frame = WholeFileSpectrogram(torch.nn.Identity(), N_FFT, "griffin_lim")
        expected = reconstruct(
            frame.amplitudes(waveform).transpose(1, 2),
            "fast_griffin_lim",
            n_fft=N_FFT,
            hop_length=HOP,
            samples=samples,
            iterations=32,
        )
        torch.testing.assert_close(frame(waveform), expected, atol=0, rtol=0)

    @pytest.mark.parametrize("method", [name for name in METHODS if name != "given"])
    def test_every_method_can_be_chosen(self, method):
        waveform = pair(4000)[0]
        frame = WholeFileSpectrogram(torch.nn.Identity(), N_FFT, method, iterations=2, sample_rate=RATE)
        assert frame(waveform).shape == waveform.shape

    def test_an_unknown_one_is_refused_at_once(self):
        with pytest.raises(OvertoneError, match="Unknown reconstruction 'magic'"):
            WholeFileSpectrogram(torch.nn.Identity(), N_FFT, "magic")


@pytest.mark.parametrize(
    ("method", "options", "message"),
    [
        ("magic", {}, "Unknown reconstruction 'magic'. Known: given"),
        ("given", {"phase": None}, "needs phase"),
        ("given", {"phase": torch.zeros(1, 257, 3)}, r"phase: expected shape \(batch, 257, 94\)"),
        ("copied_phase", {"sample_rate": None}, "needs sample_rate"),
        ("copied_phase", {"narrowband": None}, "needs narrowband"),
        ("copied_phase", {"narrowband": torch.zeros(2, 5)}, r"narrowband: expected shape \(batch, 12000\)"),
        ("griffin_lim", {"samples": 9000}, r"magnitudes: expected shape \(batch, 257, 71\), received \(2, 257, 94\)"),
    ],
)
def test_what_does_not_belong_together_is_refused(method, options, message):
    wideband, narrowband = pair()
    given = {"narrowband": narrowband, "sample_rate": RATE, "samples": 12000, "phase": spectra(wideband).angle()}
    with pytest.raises(OvertoneError, match=message):
        reconstruct(spectra(wideband).abs(), method, n_fft=N_FFT, hop_length=HOP, **(given | options))


@pytest.mark.parametrize("name", ["dnn_fft_original", "spectrogram_autoencoder_original"])
@pytest.mark.parametrize("reconstruction", ["folded_phase", "rtisi_la_low_phase_kept"])
def test_the_seeds_take_any_reconstruction(name, reconstruction):
    module = build_model(name, 16000, {"reconstruction": reconstruction}).eval()
    waveform = torch.from_numpy(speech_like(16000, 16000))[None]
    with torch.inference_mode():
        enhanced = module.enhance(waveform)
    assert enhanced.shape == waveform.shape and torch.isfinite(enhanced).all()
