"""The models that come with the package."""

from pathlib import Path

from overtone.errors import OvertoneError

PROFILES = {"fullband": 48_000, "live": 48_000, "telephone": 16_000}  # Hz, of what comes out


def default_model(profile: str) -> Path:
    """Return the folder of the model that comes with the package for a profile.

    Args:
        profile: ``fullband``, ``live`` or ``telephone``.

    Raises:
        OvertoneError: the profile is unknown, or none is packed for it.
    """
    if profile not in PROFILES:
        raise OvertoneError(f"--profile {profile}: unknown; expected one of {', '.join(PROFILES)}.")
    folder = packed_folder() / profile
    if not folder.is_dir():
        raise OvertoneError(
            f"No model for --profile {profile} comes with this installation. "
            "Name one with --model DIR; `overtone export --out DIR` writes it."
        )
    return folder


def packed_folder() -> Path:
    """Return where the packed models lie."""
    return Path(__file__).parent / "packed"
