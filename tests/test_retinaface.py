"""The adapter to RetinaFace, with drawn weights: its own cannot be had without a network."""

from __future__ import annotations

import subprocess
import sys
import urllib.error
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from asdtune.core import downloads
from asdtune.core.prepare import detectors
from asdtune.core.prepare.detectors import RETINAFACE, find_detector_model, load_detector
from tests.conftest import Run
from tests.render import draw_face, render_talking_face, render_video


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give drawn weights as a file, or skip where the extra is not installed."""
    pytest.importorskip("retinaface.network", reason="the extra retinaface is not installed")
    network = detectors._import_retinaface()
    torch.manual_seed(0)
    with pytest.warns(UserWarning, match="pretrained|weight enum"):
        net = network("Resnet50", False, 256, {"layer2": 1, "layer3": 2, "layer4": 3}, 256)
    path = tmp_path_factory.mktemp("retinaface") / "drawn.pth"
    torch.save(net.state_dict(), path)
    return path


def picture(width: int = 160, height: int = 96) -> np.ndarray:
    centre = (width / 2, height / 2)
    return draw_face(width, height, centre=centre, radius=height / 4, mouth=0.5, seed=1)


def test_it_finds_what_the_packages_own_code_finds(
    weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_ALBUMENTATIONS_UPDATE", "1")
    predict_single = pytest.importorskip("retinaface.predict_single")
    with pytest.warns(UserWarning, match="pretrained|weight enum"):
        theirs = predict_single.Model(max_size=128)  # which neither enlarges nor pads a square
    theirs.load_state_dict(torch.load(weights, weights_only=True))
    theirs.eval()
    image = picture(128, 128)
    found = theirs.predict_jsons(image[..., ::-1].copy(), confidence_threshold=0.5)
    expected = np.array([face["bbox"] for face in found], np.float32)  # whole pixels, unclipped
    boxes = load_detector("retinaface", weights, 0.5).detect(image)[:, :4]
    assert len(boxes) == len(expected) > 3
    # They are cut off to whole pixels, and here at the edges; the order is that of the scores.
    np.testing.assert_allclose(boxes, expected.clip(0, 128), atol=1.01)


def test_boxes_lie_in_a_picture_of_any_shape_and_repeat(weights: Path) -> None:
    detector = load_detector("retinaface", weights, 0.5)
    n_threads = torch.get_num_threads()
    for width, height in ((161, 97), (64, 200), (40, 24)):
        image = picture(width, height)
        faces = detector.detect(image)
        assert faces.dtype == np.float32
        assert faces.shape[1:] == (6,)
        assert len(faces) > 0
        assert np.isfinite(faces).all()
        boxes = faces[:, :4]
        assert (boxes >= 0).all()
        assert (boxes <= [width, height, width, height]).all()
        assert (boxes[:, 2:] > boxes[:, :2]).all()
        np.testing.assert_array_equal(detector.detect(image), faces)
    assert torch.get_num_threads() == n_threads


def test_a_higher_threshold_leaves_the_surest_faces_or_none(weights: Path) -> None:
    image = picture()
    low, high = (detectors.RetinaFace(weights, score).detect(image) for score in (0.0, 0.52))
    np.testing.assert_array_equal(low[:1], high[:1])
    assert len(low) > len(high) > 0
    assert detectors.RetinaFace(weights, 1.0).detect(image).shape == (0, 6)


def test_the_published_zip_is_read_too(weights: Path, tmp_path: Path) -> None:
    path = tmp_path / RETINAFACE.name
    with zipfile.ZipFile(path, "w") as archive:
        archive.write(weights, "retinaface_resnet50_2020-07-20.pth")
    boxes, expected = (
        detectors.RetinaFace(file, 0.5).detect(picture()) for file in (path, weights)
    )
    np.testing.assert_array_equal(boxes, expected)


def test_it_imports_the_network_alone(weights: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from asdtune.core.prepare import detectors;"
        f"detectors.find_detector_model('retinaface', Path({str(weights)!r}));"
        "print({'streamlit', 'albumentations', 'imagecorruptions'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("set()\n", "")


def test_crops_with_weights_of_a_file(weights: Path, in_tmp: Path, run: Run) -> None:
    render_talking_face(in_tmp / "videos" / "a.mp4", seconds=0.4, width=160, height=96)
    args = ["--detector", "retinaface", "--detector-model", weights, "--set", "crops.min_score=0.5"]
    run("crops", *args, "--workers", 1)
    (path,) = in_tmp.rglob("a.npz")
    with np.load(path) as file:
        assert file["data"].shape == (10, 112, 112)
        assert file["detected"].any()
        assert (file["boxes"][file["detected"]] <= [160, 96, 160, 96]).all()


@pytest.mark.parametrize("content", ["text", "other", "pickle"])
def test_a_wrong_file_is_one_error(weights: Path, in_tmp: Path, run: Run, content: str) -> None:
    path = in_tmp / "wrong.pth"
    if content == "text":
        path.write_text("<html>")
    else:
        torch.save({"a": torch.zeros(1)} if content == "other" else Path("code"), path)
    render_video(in_tmp / "videos" / "talk.mp4", seconds=0.2)
    args = ["--detector", "retinaface", "--detector-model", path]
    result = run("crops", *args, exit_code=1)
    assert result.output.count("not the weights of retinaface") == 1
    assert "--detector-model" in result.output


def test_without_a_network_the_error_says_where_to_put_the_weights(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_tmp: Path, run: Run
) -> None:
    cache = tmp_path / "cache"
    monkeypatch.setattr(downloads.platformdirs, "user_cache_dir", lambda *_, **__: str(cache))

    def no_network(*_: object, **__: object) -> None:
        raise urllib.error.URLError("no route to host")

    monkeypatch.setattr(downloads, "_download", no_network)
    render_video(in_tmp / "videos" / "talk.mp4", seconds=1)
    result = run("crops", "--detector", "retinaface", exit_code=1)
    text = "".join(result.output.split())
    assert str(cache / RETINAFACE.name) in text
    assert "--detector-model" in text
    assert list(cache.iterdir()) == []
    (cache / RETINAFACE.name).write_bytes(weights.read_bytes())
    assert find_detector_model("retinaface", None) == cache / RETINAFACE.name


def test_without_the_extra_the_error_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch, in_tmp: Path, run: Run
) -> None:
    monkeypatch.setitem(sys.modules, "retinaface", None)
    monkeypatch.setitem(sys.modules, "retinaface.network", None)
    render_video(in_tmp / "videos" / "talk.mp4", seconds=1)
    result = run("crops", "--detector", "retinaface", exit_code=1)
    assert 'pip install ".[retinaface]"' in " ".join(result.output.split())
    result = run("crops", "--detector", "retinaface", "--detector-model", "absent.pth", exit_code=1)
    assert "no such detector file" in result.output


def test_a_broken_opencv_is_an_error_that_mends_it() -> None:
    code = "import sys; sys.modules['cv2'] = None; from asdtune.core.prepare import detectors"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "AsdtuneError: OpenCV cannot be used" in done.stderr
