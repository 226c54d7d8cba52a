"""The models that come with the package, so that `enhance` and `serve` work without training."""

import argparse
import shutil
import sys
from pathlib import Path

from overtone.errors import OvertoneError
from overtone.model_package import load_model
from overtone.packed_models import PROFILES, packed_folder

LARGEST_BYTES = 20_000_000
NEVER_PACKED = "demo"  # trained on synthetic speech, for minutes


def pack(package: Path, profile: str) -> Path:
    """Make an exported model the one that comes with the package.

    Args:
        package: what `overtone export` wrote.
        profile: which it is for.

    Returns:
        Where it lies now.

    Raises:
        OvertoneError: it is no whole package, of another sample rate, too large, or a model of the demo.
    """
    model = load_model(package)
    if profile not in PROFILES:
        raise OvertoneError(f"{profile}: unknown profile; expected {' or '.join(PROFILES)}.")
    if model.sample_rate != PROFILES[profile]:
        raise OvertoneError(
            f"{package}: expected a model at {PROFILES[profile]} Hz for {profile}, received {model.sample_rate} Hz."
        )
    if model.configuration.get("preset") in (NEVER_PACKED, None):
        raise OvertoneError(f"{package}: a model of the demo, or of no stated preset, is never packed.")
    size = sum(file.stat().st_size for file in package.iterdir())
    if size > LARGEST_BYTES:
        raise OvertoneError(f"{package}: expected at most {LARGEST_BYTES / 1e6:g} MB, received {size / 1e6:.1f} MB.")
    target = packed_folder() / profile
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(package, target)
    return target


def main() -> int:
    """Pack the model that the command line names."""
    parser = argparse.ArgumentParser(description=pack.__doc__)
    parser.add_argument("package", type=Path)
    parser.add_argument("--profile", default="fullband", choices=PROFILES)
    options = parser.parse_args()
    try:
        target = pack(options.package, options.profile)
    except OvertoneError as error:
        print(f"overtone: {error}", file=sys.stderr)
        return 1
    print(f"Packed {target}. Commit it, and build the wheel.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
