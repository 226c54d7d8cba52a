"""The one place that imports torchaudio, whose CUDA-linked wheel does not load beside a CPU-only torch.

Its extension is not needed for GriffinLim: where it cannot be loaded, an empty stand-in takes its place and
torchaudio runs its pure-Python paths, as in a build without the extension.
"""

import importlib
import sys
from types import ModuleType

_EXTENSION = "torchaudio._extension"


def _import_torchaudio() -> ModuleType:
    try:
        return importlib.import_module("torchaudio")
    except OSError:
        for name in [name for name in sys.modules if name.split(".")[0] == "torchaudio"]:
            del sys.modules[name]
        sys.modules[_EXTENSION] = _extension_stand_in()
        return importlib.import_module("torchaudio")


def _extension_stand_in() -> ModuleType:
    stand_in = ModuleType(_EXTENSION)
    stand_in._IS_TORCHAUDIO_EXT_AVAILABLE = False  # type: ignore[attr-defined]
    stand_in._IS_ALIGN_AVAILABLE = False  # type: ignore[attr-defined]
    stand_in._check_cuda_version = lambda: None  # type: ignore[attr-defined]
    stand_in.fail_if_no_align = lambda function: function  # type: ignore[attr-defined]
    return stand_in


torchaudio = _import_torchaudio()
GriffinLim = importlib.import_module("torchaudio.transforms").GriffinLim
