"""What is installed, and what it can do. Nothing is changed.

for finding in check_machine():
    print(finding.mark, finding.name, finding.text)
"""

from __future__ import annotations

import platform
import shutil
import sys
from collections.abc import Iterator
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from asdtune import __version__
from asdtune.core.checkup.finding import Finding, Mark, found, reason

_FIRST_PYTHON, _LAST_PYTHON = (3, 10), (3, 13)
_PACKAGES = {  # by the names they are imported by; what others are built on comes first
    "numpy": "numpy>=2.0",
    "pandas": "pandas>=2.2",
    "scipy": "scipy>=1.13",
    "sklearn": "scikit-learn>=1.5",
    "librosa": "librosa>=0.10.2",
    "pydantic": "pydantic>=2.7",
    "yaml": "pyyaml>=6.0",
    "filelock": "filelock>=3.24",
    "langcodes": "langcodes>=3.4",
    "language_data": "language_data>=1.2",
    "platformdirs": "platformdirs>=4.2",
    "pooch": "pooch>=1.8",
    "safetensors": "safetensors>=0.4.3",
    **({"tomli": "tomli>=2.0"} if sys.version_info < (3, 11) else {}),
}
_OPENCV = "opencv-python-headless>=4.10,<5"
_OPENCVS = (
    "opencv-python-headless", "opencv-python", "opencv-contrib-python",
    "opencv-contrib-python-headless",
)  # fmt: skip
_ONE_OPENCV = (
    "python -m pip uninstall -y opencv-python opencv-contrib-python, then python -m pip install "
    f'--force-reinstall --no-deps "{_OPENCV}"'
)
_TORCH = 'python -m pip install --force-reinstall "torch>=2.11,<2.15" "torchaudio>=2.11,<2.12"'
_GB = 1e9


def check_machine() -> Iterator[Finding]:
    """Look at Python and at every package that asdtune needs, FFmpeg and OpenCV among them."""
    yield check_python(sys.version_info[:2])
    yield Finding("asdtune", Mark.OK, __version__)
    broken = [each for name, what in _PACKAGES.items() if (each := try_package(name, what))]
    yield from broken
    if not broken:
        text = f"all {len(_PACKAGES)} can be used, besides those below"
        yield Finding("packages", Mark.OK, text)
    yield from found("torch", _check_torch)
    yield from found("FFmpeg", _check_ffmpeg)
    yield from found("OpenCV", _check_opencv)


def check_device(device: str) -> Iterator[Finding]:
    """Look whether the device that training asks for is there: `auto`, `cpu`, `cuda`, ..."""
    from asdtune.core.tune.scoring import choose_device

    yield Finding("device", Mark.OK, f"training computes on {choose_device(device)}")


def try_package(name: str, requirement: str) -> Finding | None:
    """Import a package; where that fails, say how to install what is missing or broken."""
    try:
        import_module(name)
    except Exception as error:  # a broken package raises anything
        is_missing = isinstance(error, ModuleNotFoundError) and f"{name}." not in str(error.name)
        how = "" if is_missing else "--force-reinstall --no-deps "  # which leaves out what it needs
        return _unusable(name, error, f'python -m pip install {how}"{requirement}"')
    return None


def _unusable(name: str, error: Exception, fix: str) -> Finding:
    """Say why a package cannot be imported, and whether one that it imports is to be mended."""
    package = _package_below(error)
    if package not in (None, name):
        fix = f"mend {package} first"
    return Finding(name, Mark.PROBLEM, f"cannot be used ({reason(error)})", fix)


def _package_below(error: BaseException) -> str | None:
    """Name the last package in whose import an error, or that which led to it, was raised."""
    if (cause := error.__cause__ or error.__context__) is not None:
        return _package_below(cause)
    package, at = None, error.__traceback__
    while at is not None:
        name = str(at.tb_frame.f_globals.get("__name__")).partition(".")[0]
        package, at = name if name in _PACKAGES else package, at.tb_next
    return package


def check_python(running: tuple[int, ...]) -> Finding:
    """Compare the running Python with those on which asdtune is tested."""
    text = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    if _FIRST_PYTHON <= running <= _LAST_PYTHON:
        return Finding("Python", Mark.OK, text)
    span = " to ".join(".".join(map(str, each)) for each in (_FIRST_PYTHON, _LAST_PYTHON))
    return Finding("Python", Mark.NOTE, f"{text}; asdtune is made for {span}", f"use {span}")


def _check_torch() -> Iterator[Finding]:
    try:
        import torch
        import torchaudio
    except Exception as error:  # a broken package raises anything
        yield _unusable("torch", error, _TORCH)
        return
    from asdtune.core.tune.precision import choose_precision

    text = f"{torch.__version__}, torchaudio {torchaudio.__version__}"
    yield Finding("torch", Mark.OK, text)
    n_threads = torch.get_num_threads()
    if (broken := try_package("silero_vad", "silero-vad>=6.2")) is not None:
        yield broken
    torch.set_num_threads(n_threads)  # of which silero-vad leaves one
    for kind in ["cpu", *(each for each in ("cuda", "mps") if _has(each))]:
        where = torch.device(kind)
        try:
            for dtype in (torch.float32, torch.bfloat16):
                ones = torch.ones(8, 8, dtype=dtype, device=where)
                if float((ones @ ones).sum()) != 8**3:
                    raise RuntimeError("it multiplies wrongly")
        except RuntimeError as error:
            text = f"torch cannot compute there ({reason(error)})"
            yield Finding(kind, Mark.PROBLEM, text, _TORCH)
            continue
        is_native = choose_precision("auto", where) == "bf16"
        bf16 = "bf16 is fast" if is_native else "bf16 would be slow, so fp32"
        yield Finding(kind, Mark.OK, f"{_describe(kind)}; {bf16}")
    yield check_gpu(torch.version.cuda, has_gpu=_has("cuda") or _has("mps"), is_seen=_sees_nvidia())


def check_gpu(built_for_cuda: str | None, *, has_gpu: bool, is_seen: bool) -> Finding:
    """Say whether a GPU computes, or why one that the system sees does not.

    Args:
        built_for_cuda: The CUDA version torch was built for; None for a CPU build.
        has_gpu: Whether torch can use a GPU.
        is_seen: Whether the system has an NVIDIA GPU.
    """
    if has_gpu:
        return Finding("GPU", Mark.OK, "used for training, unless --device says otherwise")
    if not is_seen:
        return Finding("GPU", Mark.OK, "none; everything works without, training takes longer")
    if built_for_cuda is None:
        return Finding("GPU", Mark.NOTE, "one is here, but this torch is built for the CPU", _TORCH)
    return Finding(
        "GPU",
        Mark.NOTE,
        f"one is here, but torch, built for CUDA {built_for_cuda}, cannot use it",
        "update the NVIDIA driver; nvidia-smi names the newest CUDA that it knows",
    )


def _has(kind: str) -> bool:
    import torch

    return bool((torch.cuda if kind == "cuda" else torch.backends.mps).is_available())


def _describe(kind: str) -> str:
    import torch

    if kind == "cuda":
        of_first = torch.cuda.get_device_properties(0)
        more = f", and {torch.cuda.device_count() - 1} more" * (torch.cuda.device_count() > 1)
        return f"{of_first.name}, {of_first.total_memory / _GB:.0f} GB{more}"
    n = torch.get_num_threads()
    return "Apple GPU" if kind == "mps" else f"{n} thread{'s' * (n > 1)}"


def _sees_nvidia() -> bool:
    return shutil.which("nvidia-smi") is not None or Path("/proc/driver/nvidia/version").exists()


def _check_ffmpeg() -> Iterator[Finding]:
    try:
        import av
    except Exception as error:  # a broken package raises anything
        yield _unusable("FFmpeg", error, "python -m pip install --force-reinstall av")
        return
    codec = ".".join(map(str, av.library_versions["libavcodec"]))
    release = getattr(av, "ffmpeg_version_info", None)  # not in all
    text = f"{release or 'linked'} (libavcodec {codec}) in PyAV {av.__version__}"
    missing = {"libx264", "aac"} - av.codec.codecs_available
    if missing:
        yield Finding(
            "FFmpeg", Mark.PROBLEM, f"{text}, cannot write {' and '.join(sorted(missing))}",
            "python -m pip install --force-reinstall --only-binary av av",
        )  # fmt: skip
    else:
        yield Finding("FFmpeg", Mark.OK, text)


def _check_opencv() -> Iterator[Finding]:
    try:
        from cv2 import CascadeClassifier, FaceDetectorYN  # noqa: F401 -- is it whole?
    except Exception as error:  # a broken package raises anything
        yield _unusable("OpenCV", error, _ONE_OPENCV)
        return
    yield check_opencvs({name: it for name in _OPENCVS if (it := _version(name)) is not None})


def check_opencvs(versions: dict[str, str]) -> Finding:
    """Say which OpenCV packages are installed: they write the same files."""
    text = ", ".join(f"{name} {number}" for name, number in versions.items())
    if len(versions) <= 1:
        return Finding("OpenCV", Mark.OK, text or "installed by hand")
    alike = len(set(versions.values())) == 1
    risk = "works while both stay" if alike else "of different versions: one has written over it"
    return Finding("OpenCV", Mark.NOTE, f"{text}: {risk}", _ONE_OPENCV)


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
