"""What the README shows is so: commands can be typed, messages exist, blocks are true."""

from __future__ import annotations

import ast
import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer

import asdtune
from asdtune.cli import app
from tests.conftest import Run

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
GROUP: Any = typer.main.get_command(app)


def blocks(language: str | None = None) -> list[str]:
    """Give what stands in fences, of a language or of any."""
    found = re.findall(r"^```(\w*)\n(.*?)^```", README, re.DOTALL | re.MULTILINE)
    return [text for name, text in found if language in (None, name)]


def commands() -> list[str]:
    """Give every command of asdtune that the README shows, in fences and in the text."""
    lines = (line for block in blocks() for line in block.splitlines())
    found = [re.search(r"(?:^|&& |--no-python )(asdtune [a-z-].*)", line) for line in lines]
    text = re.sub(r"^```.*?^```", "", README, flags=re.DOTALL | re.MULTILINE)
    inline = [" ".join(each.split()) for each in re.findall(r"`(asdtune\s[a-z-][^`]*)`", text)]
    return [match[1] for match in found if match is not None] + inline


@pytest.mark.parametrize("line", dict.fromkeys(commands()))
def test_every_command_can_be_typed(line: str) -> None:
    _, name, *args = shlex.split(line, comments=True)
    if name.startswith("-"):
        assert name in {option for each in GROUP.params for option in each.opts}
        return
    GROUP.commands[name].make_context(name, args)  # or it raises


def test_every_command_has_a_row_and_the_readme_says_how_to_begin() -> None:
    for command in GROUP.commands:
        assert f"| `{command}` |" in README
    assert blocks("sh")[:2] == [
        "python -m pip install . && asdtune demo\n",
        'python -m pip install ".[test]" && python -m pytest\n',
    ]


def test_every_message_of_the_troubleshooting_table_is_one_of_ours() -> None:
    said = [
        node.value
        for path in Path(asdtune.__file__).parent.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]
    table = README[README.index("| it says |") :]
    rows = [line.split("|")[1] for line in table[: table.index("\n\n")].splitlines()[2:]]
    assert len(rows) >= 6
    for row in rows:
        for fragment in re.findall(r"`([^`]+)`", row):
            assert any(fragment in text for text in said), fragment


def test_error_is_as_it_is_shown(run: Run, in_tmp: Path) -> None:
    (shown,) = (block for block in blocks() if block.startswith("error: "))
    assert run("mfcc", exit_code=1).stderr.strip() == shown.strip()


def test_python_example_runs() -> None:
    (code,) = blocks("python")
    rng = np.random.default_rng(0)
    given: dict[str, Any] = {
        "waveform": rng.integers(-999, 999, 16_000).astype(np.int16),
        "labels": [1, 0, 1],
    }
    import torch

    given["audio"], given["crops"] = torch.zeros(1, 20, 13), torch.zeros(1, 5, 112, 112)
    lines = code.replace("average_precision(labels, scores)", "average_precision(labels, labels)")
    exec(lines, given)
    assert given["coefficients"].shape == (99, 13)
    assert given["scores"].shape == (1, 5)
    assert given["percent"] == 100


def test_pictures_and_links_within_the_repository_exist() -> None:
    for target in re.findall(r"\]\(([^)]+)\)", README):
        assert target.startswith("http") or (ROOT / target).is_file(), target
