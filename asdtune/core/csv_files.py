"""CSV files as people make them, by hand or in a spreadsheet of any country.

Columns are separated by commas, semicolons, tabs or bars, as the header tells; text is UTF-8 or
UTF-16; capitals of the header, empty rows, empty columns at the end and a first line `sep=;` do not
count. What cannot be known is refused, with its cause.
"""

from __future__ import annotations

import codecs
import csv
import io
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from asdtune.errors import AsdtuneError, error_of_system

_SEPARATORS = ",;\t|"
_WORKBOOK = b"PK\x03\x04"  # of Excel and LibreOffice
_AS_UTF8 = 'save it as UTF-8, which a spreadsheet calls "CSV UTF-8"'
_TRUE = ("1", "1.0", "true", "yes", "wahr", "vrai", "verdadero", "vero", "verdadeiro")
_FALSE = ("0", "0.0", "false", "no", "falsch", "faux", "falso")


@dataclass(frozen=True)
class CsvTable:
    """What a CSV holds, without empty rows.

    Attributes:
        path: The file.
        columns: Names, in lower case.
        rows: Values without spaces around them, as many as there are columns.
        lines: At which line of the file each row ends.
    """

    path: Path
    columns: list[str]
    rows: list[list[str]]
    lines: list[int]

    def records(self) -> Iterator[tuple[str, dict[str, str]]]:
        """Give for each row where it stands, for errors, and its values by column."""
        for line, row in zip(self.lines, self.rows, strict=True):
            yield f"{self.path}, line {line}", dict(zip(self.columns, row, strict=True))


def read_csv(
    path: Path,
    required: Sequence[str],
    *,
    fix: str,
    is_ours: bool = False,
    names: Sequence[str] = (),
) -> CsvTable:
    """Read a CSV with a header.

    Args:
        path: The file.
        required: Names of columns, in lower case, that it must have.
        fix: What to do where it is no such table.
        is_ours: asdtune wrote it: spaces at the ends of values are part of them, and bytes that are
            no UTF-8 part of the names of files.
        names: Of the columns, where the file has no header.

    Raises:
        AsdtuneError: It is missing, no text, or a column is missing or there twice.
    """
    errors = "surrogateescape" if is_ours else "strict"
    lines = io.StringIO(read_text(path, fix=fix, errors=errors), newline="")
    has_separator_line = lines.readline().strip('" \r\n').lower().startswith("sep=")
    if not has_separator_line:
        lines.seek(0)
    text = (f"{','.join(names)}\n" if names else "") + lines.read()
    n_before = has_separator_line - bool(names)  # lines that are in the file only, or here only
    header, separator = _header(text, required)
    if not any(header):
        raise AsdtuneError("the file is empty", where=path, fix=fix)
    twice = [name for name in dict.fromkeys(header) if header.count(name) > 1]
    missing = [name for name in required if name not in header]
    if twice or missing:
        told = f"two columns {twice[0]}" if twice else f"no column {', '.join(missing)}"
        raise AsdtuneError(f"{told}: found {', '.join(header)}", where=path, fix=fix)
    lines = io.StringIO(text, newline="")
    reader = csv.reader(lines, delimiter=separator, skipinitialspace=not is_ours)
    table = CsvTable(path, header, [], [])
    n = len(header)
    try:
        for row in reader:
            values = row if is_ours else [value.strip() for value in row]
            line = reader.line_num + n_before
            if any(values[n:]):
                raise AsdtuneError(
                    f"{len(values)} values under {n} columns", where=f"{path}, line {line}",
                    fix="put values that hold a separator, such as 1,5, between quotes",
                )  # fmt: skip
            if any(values):
                table.rows.append((values + [""] * n)[:n])
                table.lines.append(line)
    except csv.Error as error:
        line = reader.line_num + n_before
        told = f"no CSV that can be read ({error})"
        raise AsdtuneError(told, where=f"{path}, line {line}", fix=fix) from error
    del table.rows[0], table.lines[0]  # the header
    return table


def read_text(path: Path, *, fix: str, errors: str = "strict") -> str:
    """Read a text file in UTF-8 or UTF-16.

    Args:
        path: The file.
        fix: What to do where it cannot be read.
        errors: Of bytes that are no UTF-8, as `bytes.decode` takes it.

    Raises:
        AsdtuneError: It is missing, or no such text.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise AsdtuneError("no such file", where=path, fix="check the path") from error
    except IsADirectoryError as error:
        raise AsdtuneError("a folder, not a file", where=path, fix=fix) from error
    except OSError as error:
        raise error_of_system(error, path) from error
    if data.startswith(_WORKBOOK):
        raise AsdtuneError("a spreadsheet's own file, not a CSV", where=path, fix="save it as CSV")
    is_utf16 = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        text = data.decode("utf-16" if is_utf16 else "utf-8-sig", "strict" if is_utf16 else errors)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise AsdtuneError(
            "a letter that is not in UTF-8: the file is in a national encoding",
            where=f"{path}, line {line}", fix=_AS_UTF8,
        ) from error  # fmt: skip
    if "\0" in text:
        raise AsdtuneError("no text, or UTF-16 without its mark", where=path, fix=_AS_UTF8)
    return text


def to_number(text: str) -> float:
    """Read a number with a decimal point or comma.

    Raises:
        ValueError: It is none, or has both, so that nobody can know which is which.

    Examples:
        >>> to_number("1,5")
        1.5
    """
    return float(text.replace(",", ".") if "." not in text else text)


def to_truth(text: str) -> bool:
    """Read 1 or 0, or the words that spreadsheets write for them.

    Raises:
        ValueError: It is neither.

    Examples:
        >>> to_truth("TRUE"), to_truth("FALSCH")
        (True, False)
    """
    word = text.casefold()
    if word not in _TRUE + _FALSE:
        raise ValueError(text)
    return word in _TRUE


def spelled(name: str) -> str:
    r"""Bring a name or path to one spelling: `/` between folders, composed letters (NFC).

    Examples:
        >>> spelled("ana\\cafe\u0301.mp4") == "ana/caf\u00e9.mp4"
        True
    """
    return unicodedata.normalize("NFC", name.replace("\\", "/"))


def find_written(folder: Path, name: str) -> Path | None:
    """Find the file below a folder that a CSV names, though another system has spelled it."""
    if name and (folder / name).is_file():
        return folder / name
    here = folder
    for part in Path(spelled(name)).parts:
        exact = here / part
        if not exact.exists():
            try:
                alike = [each for each in here.iterdir() if spelled(each.name) == part]
            except OSError:
                return None
            if len(alike) != 1:
                return None
            exact = alike[0]
        here = exact
    return here if here.is_file() else None


def _header(text: str, required: Sequence[str]) -> tuple[list[str], str]:
    """Give the names of the columns, and the separator by which they are found."""
    first = next((line for line in text.splitlines() if line.strip(f"{_SEPARATORS} ")), "")
    headers = []
    for separator in _SEPARATORS:
        names = next(csv.reader([first], delimiter=separator, skipinitialspace=True), [])
        header = [name.strip().casefold() for name in names]
        while header and not header[-1]:
            header.pop()
        headers.append((header, separator))
    return max(headers, key=lambda each: (len({*required} & {*each[0]}), len(each[0])))
