"""Chromaprint, the fingerprint of AcoustID, through the system's libchromaprint where there is one."""

import ctypes
import ctypes.util
from functools import cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from evaluation.measures.stft import NotApplicable, check_pair

ALGORITHM = 1  # CHROMAPRINT_ALGORITHM_TEST2, the default and what AcoustID's database holds
FULL_SCALE = 32767
BITS_PER_ITEM = 32

Items = NDArray[np.uint32]


@cache
def _library() -> ctypes.CDLL | None:
    """The library with its functions' types declared, None where it is not installed."""
    name = ctypes.util.find_library("chromaprint")
    if name is None:
        return None
    try:
        library = ctypes.CDLL(name)
    except OSError:
        return None
    context, samples = ctypes.c_void_p, ctypes.POINTER(ctypes.c_int16)
    items, count = ctypes.POINTER(ctypes.POINTER(ctypes.c_uint32)), ctypes.POINTER(ctypes.c_int)
    library.chromaprint_new.argtypes, library.chromaprint_new.restype = [ctypes.c_int], context
    library.chromaprint_start.argtypes = [context, ctypes.c_int, ctypes.c_int]
    library.chromaprint_feed.argtypes = [context, samples, ctypes.c_int]
    library.chromaprint_finish.argtypes = [context]
    library.chromaprint_get_raw_fingerprint.argtypes = [context, items, count]
    library.chromaprint_dealloc.argtypes, library.chromaprint_dealloc.restype = [context], None
    library.chromaprint_free.argtypes, library.chromaprint_free.restype = [context], None
    return library


def raw_fingerprint(waveform: ArrayLike, sample_rate: int) -> Items:
    """Return the raw fingerprint, as ``fpcalc -raw`` prints it.

    The waveform is rounded to 16 bits, which is what the library takes; it resamples to 11 025 Hz itself, looks at
    28 to 3520 Hz, folds the octaves into 12 pitch classes, and gives an item every 0.124 s, the first after 2.7 s.

    Args:
        waveform: ``(samples,)``; beyond full scale it clips.
        sample_rate: in Hz.

    Returns:
        ``(items,)``, 32 bits each: two from each of 16 classifiers.

    Raises:
        NotApplicable: libchromaprint is not installed.
        RuntimeError: the library refuses the waveform.
    """
    library = _library()
    if library is None:
        raise NotApplicable("libchromaprint is not installed (Debian and Ubuntu: apt-get install libchromaprint1)")
    scaled = np.rint(np.clip(np.asarray(waveform, dtype=np.float32), -1.0, 1.0) * FULL_SCALE)
    samples = np.ascontiguousarray(scaled, dtype=np.int16)
    context = library.chromaprint_new(ALGORITHM)
    try:
        pointer = samples.ctypes.data_as(ctypes.POINTER(ctypes.c_int16))
        if not (
            library.chromaprint_start(context, sample_rate, 1)
            and library.chromaprint_feed(context, pointer, len(samples))
            and library.chromaprint_finish(context)
        ):
            raise RuntimeError(f"libchromaprint refused {len(samples)} samples at {sample_rate} Hz")
        return _items(library, context)
    finally:
        library.chromaprint_free(context)


def _items(library: ctypes.CDLL, context: int) -> Items:
    data, count = ctypes.POINTER(ctypes.c_uint32)(), ctypes.c_int()
    if not library.chromaprint_get_raw_fingerprint(context, ctypes.byref(data), ctypes.byref(count)):
        raise RuntimeError("libchromaprint gave no fingerprint")
    try:
        return np.array(data[: count.value], dtype=np.uint32)
    finally:
        library.chromaprint_dealloc(data)


def chromaprint_bit_error_rate(*, preds: ArrayLike, target: ArrayLike, sample_rate: int) -> float:
    """Bit error rate between Chromaprint's raw fingerprints, key ``chromaprint_ber``.

    It hears melody and harmony below 3.5 kHz, and nothing above. Kept beside `content_ber`, which looks at the same
    part of the spectrum twelve times as often.

    Args:
        preds: the estimate ``(samples,)``.
        target: the wideband ``(samples,)``.
        sample_rate: of both, in Hz.

    Returns:
        0 to 1; lower is better. Chance is a little under 0.5, since its two-bit codes are not equally frequent.

    Raises:
        NotApplicable: libchromaprint is not installed, or the utterance is shorter than its first item (2.7 s).
    """
    check_pair(preds, target)
    given, wanted = raw_fingerprint(preds, sample_rate), raw_fingerprint(target, sample_rate)
    if len(wanted) == 0:
        raise NotApplicable("shorter than the first item of Chromaprint (2.7 s)")
    return float(np.bitwise_count(given ^ wanted).sum() / (BITS_PER_ITEM * len(wanted)))
