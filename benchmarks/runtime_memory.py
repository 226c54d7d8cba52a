"""What a process holds at most that enhances a file block by block, and imports no more than the runtime for it."""

import argparse
from pathlib import Path

import soundfile

from overtone.enhancer import Enhancer
from overtone.model_package import load_model


def enhance_file(package: Path, path: Path) -> float:
    """Enhance a file beside itself in blocks of a second; return the process' peak in MB."""
    with soundfile.SoundFile(path) as file:
        rate, channels = file.samplerate, file.channels
    stream = Enhancer(load_model(package)).stream(rate, channels, rate)
    with soundfile.SoundFile(path.with_suffix(".out.wav"), "w", rate, channels, "PCM_16") as out:
        for block in soundfile.blocks(path, rate, dtype="float32"):
            out.write(stream.push(block))
        out.write(stream.flush())
    # Not getrusage: its peak begins with that of the process that started this one.
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status["VmHWM"].split()[0]) / 1024


def main() -> None:
    """Print the peak."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("package", type=Path)
    parser.add_argument("file", type=Path)
    options = parser.parse_args()
    print(enhance_file(options.package, options.file))


if __name__ == "__main__":
    main()
