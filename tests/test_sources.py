"""Sources of rows: what stands in a file is what a run sees, and what can not be read is named with file and line.

Held here: every readable format, compressed or not, from any row on; rows that are no text; input that is broken at
any place; columns that travel along, whatever they hold; datasets on the Hub through its double, streamed and pinned.
"""

from __future__ import annotations

import base64
import bz2
import csv
import datetime
import decimal
import gzip
import io
import json
import lzma
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hub_instructpt.errors import InputError
from hub_instructpt.runs.shards import OpenShard
from hub_instructpt.runs.sources import Source, find_files, open_files
from hub_instructpt.synthesis import Synthesis
from tests.cli_cases import cases
from tests.conftest import run_cli, topics, write_jsonl
from tests.doubles.plain_http import ask
from tests.doubles.process import running

ROWS = topics(7)


def opened(path: Path | str, text: str = "text", keep: tuple[str, ...] = ()) -> Source:
    files = find_files(str(path))
    assert files is not None
    return open_files(files, text, keep)


def texts(source: Source, start: int = 0) -> list[str]:
    return [row.text for row in source.rows(start, None)]


def refusal(path: Path | str, text: str = "text", keep: tuple[str, ...] = ()) -> str:
    with pytest.raises(InputError) as caught:
        opened(path, text, keep)
    message = str(caught.value)
    assert "\n" not in message
    return message


def sealed(source: Source, folder: Path) -> list[dict[str, Any]]:
    """Examples as they come back from a shard that was written of the source."""
    shard = OpenShard(0, 0)
    for row in source.rows(0, None):
        if shard.take(row):
            shard.add([row], [Synthesis()], seed=0)
    facts = shard.seal(folder, source.kept_types)
    return [row["examples"][0] for row in pq.read_table(folder / facts.path).to_pylist()]


# -- formats ---------------------------------------------------------------------------------------------------------


def as_jsonl(rows: list[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def as_csv(rows: list[dict[str, Any]]) -> bytes:
    stream = io.StringIO(newline="")
    writer = csv.DictWriter(stream, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    return stream.getvalue().encode()


def as_parquet(rows: list[dict[str, Any]], row_group_size: int = 3) -> bytes:
    stream = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), stream, row_group_size=row_group_size)
    return stream.getvalue()


FILES = {
    "c.jsonl": as_jsonl,
    "c.ndjson": as_jsonl,
    "c.json": as_jsonl,
    "C.JSONL": as_jsonl,
    "c.csv": as_csv,
    "c.parquet": as_parquet,
    "a::b[1].jsonl": as_jsonl,
    "c.jsonl.gz": lambda rows: gzip.compress(as_jsonl(rows)),
    "C.JSONL.GZ": lambda rows: gzip.compress(as_jsonl(rows)),
    "c.csv.bz2": lambda rows: bz2.compress(as_csv(rows)),
    "c.jsonl.xz": lambda rows: lzma.compress(as_jsonl(rows)),
}


@pytest.mark.parametrize("name", FILES)
def test_every_format_gives_the_same_rows_from_any_row_on(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(FILES[name](ROWS))
    source = opened(tmp_path / name, keep=("title",))
    expected = [(index, row["text"], {"title": row["title"]}) for index, row in enumerate(ROWS)]
    for start in range(len(ROWS) + 1):
        assert [(row.index, row.text, row.kept) for row in source.rows(start, None)] == expected[start:]
    assert [row.index for row in source.rows(2, 4)] == [2, 3]
    assert source.facts.num_rows == len(ROWS)


@pytest.mark.parametrize("compress", [lambda data: data, gzip.compress], ids=["plain", "gz"])
def test_a_text_file_is_a_row_a_line(tmp_path: Path, compress: Any) -> None:
    path = tmp_path / ("c.txt" if compress(b"") == b"" else "c.txt.gz")
    path.write_bytes(compress(b"\xef\xbb\xbfone\r\n\r\n two\nthree"))
    rows = list(opened(path).rows(0, None))
    assert [(row.text, row.problem) for row in rows] == [("one", None), ("", "empty"), (" two", None), ("three", None)]


@pytest.mark.skipif(find_spec("zstandard") is not None or sys.version_info >= (3, 14), reason="zstandard is installed")
def test_zstandard_without_its_package_names_the_package(tmp_path: Path) -> None:
    (tmp_path / "c.jsonl.zst").write_bytes(b"\x28\xb5\x2f\xfd")
    assert "pip install zstandard" in refusal(tmp_path / "c.jsonl.zst")


def test_folders_and_globs_are_read_in_the_order_of_names_and_hidden_files_are_not(tmp_path: Path) -> None:
    for name in ("b/1.jsonl", "a.csv", "c.parquet", ".git/x.jsonl", ".hidden.jsonl", "notes.md"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(FILES.get(f"c{path.suffix}", as_jsonl)([{"text": name}]))
    assert texts(opened(tmp_path)) == ["a.csv", "b/1.jsonl", "c.parquet"]
    assert texts(opened(f"{tmp_path}/*.[cp]*")) == ["a.csv", "c.parquet"]
    assert texts(opened(f"{tmp_path}/**/*.jsonl")) == ["b/1.jsonl"]
    for start in range(4):
        assert texts(opened(tmp_path), start) == ["a.csv", "b/1.jsonl", "c.parquet"][start:]


def test_a_tilde_is_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_jsonl(tmp_path / "c.jsonl", ROWS)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert len(texts(opened("~/c.jsonl"))) == len(ROWS)
    assert "~nobody-of-that-name/c.jsonl" in refusal("~nobody-of-that-name/c.jsonl")


# -- properties --------------------------------------------------------------------------------------------------------

# Half of a surrogate pair is left out: two of them in a row are one character once they went through JSON.
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
json_rows = st.lists(st.dictionaries(st.sampled_from(["text", "a", "b"]), values, max_size=3), max_size=8)


@given(json_rows, st.integers(0, 9), st.sampled_from(["\n", "\r\n", "\n\n \n"]), st.booleans())
@settings(max_examples=150, deadline=None)
def test_json_lines_are_read_back_as_they_were_written(
    rows: list[dict[str, Any]], start: int, newline: str, ascii_only: bool
) -> None:
    from hub_instructpt.runs.readers import READERS

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "c.jsonl")
        path.write_bytes("".join(json.dumps(row, ensure_ascii=ascii_only) + newline for row in rows).encode())
        assert list(READERS[".jsonl"].rows(path, start, ())) == rows[start:]


cells = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=12)


@given(st.lists(st.fixed_dictionaries({"text": cells, "b": cells}), min_size=1, max_size=8), st.integers(0, 9))
@settings(max_examples=100, deadline=None)
def test_csv_is_read_back_as_it_was_written(rows: list[dict[str, str]], start: int) -> None:
    from hub_instructpt.runs.readers import READERS

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "c.csv")
        path.write_bytes(as_csv(rows))
        assert list(READERS[".csv"].rows(path, start, ())) == rows[start:]


@given(st.integers(1, 700), st.integers(0, 710), st.integers(1, 400))
@settings(max_examples=40, deadline=None)
def test_parquet_is_read_from_any_row_of_any_row_group(number: int, start: int, row_group_size: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "c.parquet")
        path.write_bytes(as_parquet([{"text": str(index)} for index in range(number)], row_group_size))
        assert texts(opened(path), start) == [str(index) for index in range(start, number)]


@given(json_rows.map(lambda rows: [*rows, {"text": "at least one"}]))
@settings(max_examples=60, deadline=None)
def test_every_row_is_a_text_or_has_a_reason_and_what_is_kept_fits_its_column(rows: list[dict[str, Any]]) -> None:
    rows = [{"a": None, "b": None, "text": None, **row} for row in rows]
    with tempfile.TemporaryDirectory() as folder:
        path = write_jsonl(Path(folder, "c.jsonl"), rows)
        source = opened(path, keep=("a", "b"))
        read = list(source.rows(0, None))
        assert [row.index for row in read] == list(range(len(rows)))
        for row, given_row in zip(read, rows, strict=True):
            usable = isinstance(given_row["text"], str) and bool(given_row["text"].strip())
            assert (row.problem is None) == usable
        examples = sealed(source, Path(folder))
        assert len(examples) == sum(row.problem is None for row in read)
        for example, given_row in zip(
            examples, [row for row, r in zip(rows, read, strict=True) if r.problem is None], strict=True
        ):
            for name in ("a", "b"):
                assert_held(example[name], given_row[name])


def assert_held(kept: Any, value: Any) -> None:
    """A kept value is the value itself, or JSON of it."""
    if kept == value and (kept is None) == (value is None):
        return
    assert isinstance(kept, str)
    assert json.loads(kept) == value


# -- rows that are no text ---------------------------------------------------------------------------------------------


def test_rows_without_a_text_say_why_and_disturb_no_other(tmp_path: Path) -> None:
    given_rows: list[dict[str, Any]] = [
        {"text": "good"}, {"text": None}, {}, {"text": ""}, {"text": " \n\t\u00a0"}, {"text": 7}, {"text": ["a"]},
        {"text": {"a": 1}}, {"text": True}, {"text": "x" * 5_000_000}, {"text": "a\x00b"}, {"text": "end"},
    ]  # fmt: skip
    rows = list(opened(write_jsonl(tmp_path / "c.jsonl", given_rows)).rows(0, None))
    assert [row.problem for row in rows] == [
        None, "null", "null", "empty", "empty", "not_a_string", "not_a_string", "not_a_string", "not_a_string",
        None, None, None,
    ]  # fmt: skip
    assert [len(row.text) for row in rows if row.problem is None] == [4, 5_000_000, 3, 3]
    assert rows[10].text == "a\x00b"


def test_lone_surrogates_are_replaced_and_counted_and_pairs_of_them_are_characters(tmp_path: Path) -> None:
    path = tmp_path / "c.jsonl"
    path.write_bytes(b'{"text": "a\\ud800b", "k": "\\udfff"}\n{"text": "\\ud83d\\ude00", "k": "ok"}\n')
    source = opened(path, keep=("k",))
    rows = list(source.rows(0, None))
    assert [(row.text, row.repaired) for row in rows] == [("a\ufffdb", True), ("\U0001f600", False)]
    assert [example["k"] for example in sealed(source, tmp_path)] == ["\ufffd", "ok"]


def test_json_lines_with_a_mark_carriage_returns_and_blank_lines_hold_only_their_rows(tmp_path: Path) -> None:
    path = tmp_path / "c.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"text": "a"}\r\n\r\n   \n{"text": "b"}')
    assert texts(opened(path)) == ["a", "b"]
    assert texts(opened(path), 1) == ["b"]


def test_csv_fields_may_hold_quotes_commas_line_breaks_and_megabytes(tmp_path: Path) -> None:
    fields = ['say "yes", twice', "two\nlines\r\nthree", "x" * 2_000_000, "\x00"]
    (tmp_path / "c.csv").write_bytes(b"\xef\xbb\xbf" + as_csv([{"text": field, "n": "1"} for field in fields]))
    assert texts(opened(tmp_path / "c.csv")) == fields
    (tmp_path / "short.csv").write_bytes(b"n,text\n\n1\n2,two\n")
    assert [row.problem for row in opened(tmp_path / "short.csv").rows(0, None)] == ["null", None]


# -- what can not be read ----------------------------------------------------------------------------------------------

GOOD = b'{"text": "a"}\n'
BROKEN: dict[str, tuple[str, bytes, list[str]]] = {
    "malformed": ("c.jsonl", GOOD * 2 + b'{"text": "b"\n', ["c.jsonl, line 3,", "not JSON", "column"]),
    "after blank lines": ("c.jsonl", b"\n\n" + GOOD + b"\nnope\n", ["line 5"]),
    "a list": ("c.jsonl", GOOD + b'[{"text": "a"}]\n', ["line 2", "a list"]),
    "a string": ("c.jsonl", b'"text"\n', ["line 1", "a string"]),
    "a number": ("c.jsonl", b"12\n", ["line 1", "a number"]),
    "null": ("c.jsonl", b"null\n", ["line 1", "null"]),
    "pretty-printed": ("c.json", b'{\n "text": "a"\n}\n', ["line 1", "Each line must be one JSON object"]),
    "too deep": ("c.jsonl", GOOD + b'{"text": ' + b"[" * 200_000 + b"]" * 200_000 + b"}\n", ["line 2", "too deep"]),
    "nested": ("c.jsonl", GOOD + b'{"text": ' + b"[" * 1000 + b"1e300" + b"}\n", ["line 2"]),
    "digits": ("c.jsonl", GOOD + b'{"text": "a", "n": ' + b"9" * 5000 + b"}\n", ["line 2", "too many digits"]),
    "jsonl in latin-1": ("c.jsonl", GOOD + '{"text": "é"}\n'.encode("latin-1"), ["line 2", "UTF-8", "byte 11"]),
    "txt in latin-1": ("c.txt", b"a\nb\n" + "née\n".encode("latin-1"), ["c.txt, line 3,", "UTF-8", "iconv"]),
    "txt in utf-16": ("c.txt", "text\n".encode("utf-16"), ["line 1", "UTF-8"]),
    "csv in latin-1": ("c.csv", b"text\na\n" + "é\n".encode("latin-1"), ["c.csv, line 3,", "UTF-8"]),
    "too many fields": ("c.csv", b'text,n\n"a\nb",1\nc,2,3\n', ["c.csv, line 4,", "3 fields", "names 2"]),
    "an open quote": ("c.csv", b'text\na\n"b\nc\nd\n', ["c.csv", "line 3"]),
    "bare carriage returns": ("c.csv", b"text\ra\rb\r", ["c.csv", "line 1"]),
    "gz cut": ("c.jsonl.gz", gzip.compress(as_jsonl(ROWS))[:-300], ["c.jsonl.gz"]),
    "gz damaged": ("c.jsonl.gz", gzip.compress(as_jsonl(ROWS))[:60] + b"\xff" * 400, ["c.jsonl.gz"]),
    "no gz at all": ("c.jsonl.gz", GOOD, ["c.jsonl.gz", "gzip"]),
    "bz2 damaged": ("c.txt.bz2", bz2.compress(b"a\n" * 99)[:20] + b"\xff" * 40, ["c.txt.bz2"]),
    "xz damaged": ("c.csv.xz", lzma.compress(b"text\n" + b"a\n" * 99)[:40] + b"\xff" * 40, ["c.csv.xz"]),
    "no parquet": ("c.parquet", b"PAR1" * 20, ["c.parquet is not a readable Parquet file"]),
    "parquet cut": ("c.parquet", as_parquet(ROWS)[:-50], ["c.parquet is not a readable Parquet file"]),
    "empty": ("c.jsonl", b"", ["c.jsonl holds no rows"]),
    "blank": ("c.jsonl", b"\n \n", ["c.jsonl holds no rows"]),
    "header only": ("c.csv", b"text,n\n", ["c.csv holds no rows"]),
    "no rows": ("c.parquet", as_parquet([{"text": "a"}])[:0], ["c.parquet"]),
    "unknown kind": ("c.docx", b"a", ["c.docx", "Readable: .jsonl"]),
    "no suffix": ("corpus", b"a", ["corpus is of no kind"]),
    "compressed parquet": ("c.b.parquet.gz", gzip.compress(as_parquet(ROWS)), ["c.b.parquet.gz is of no kind"]),
    "no usable text": ("c.jsonl", b'{"text": null}\n{"text": 1}\n{"text": ""}\n', ["No row", "1 null", "1 empty"]),
}


@pytest.mark.parametrize("case", BROKEN)
def test_what_can_not_be_read_is_named_in_one_line(tmp_path: Path, case: str) -> None:
    name, content, words = BROKEN[case]
    (tmp_path / name).write_bytes(content)
    message = refusal(tmp_path / name)
    for word in words:
        assert word in message
    assert str(tmp_path) not in message or "kind" in message


def test_a_parquet_file_without_rows_or_with_damaged_pages_is_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": pa.array([], pa.string())}), tmp_path / "none.parquet")
    assert "holds no rows" in refusal(tmp_path / "none.parquet")
    data = bytearray(as_parquet([{"text": f"{index} " * 50} for index in range(500)], 100))
    data[200:2000] = b"\xff" * 1800
    (tmp_path / "damaged.parquet").write_bytes(data)
    assert "damaged.parquet is damaged" in refusal(tmp_path / "damaged.parquet")
    not_utf8 = pa.StringArray.from_buffers(1, pa.py_buffer(b"\0\0\0\0\2\0\0\0"), pa.py_buffer(b"\xff\xfe"))
    pq.write_table(pa.table({"text": not_utf8}), tmp_path / "bytes.parquet")
    assert "UTF-8" in refusal(tmp_path / "bytes.parquet")


def test_missing_sources_are_told_apart_from_names_on_the_hub(tmp_path: Path) -> None:
    for name in (f"{tmp_path}/none.jsonl", f"{tmp_path}/*.jsonl", "none.parquet", "a b", "x" * 5000, f"{tmp_path}/no"):
        assert "There is no file" in refusal(name)
    assert "holds no" in refusal(tmp_path)
    assert find_files("allenai/c4") is None
    assert find_files("squad") is None


@pytest.mark.parametrize("name", ["c.jsonl", "c.csv", "c.parquet"])
def test_a_wrong_column_names_the_columns_there_are(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(FILES[name](ROWS))
    message = refusal(tmp_path / name, text="body")
    assert "no column 'body'; it has: " in message
    assert "title" in message
    assert "--text-column" in message
    assert "--keep-column" in refusal(tmp_path / name, keep=("url",))


# -- typed columns -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())], ids=str)
def test_every_arrow_type_of_text_is_text(tmp_path: Path, kind: pa.DataType) -> None:
    plain = pa.array(["a", None, "b"] * 200)
    column = plain.dictionary_encode() if pa.types.is_dictionary(kind) else plain.cast(kind)
    pq.write_table(pa.table({"text": column, "k": column}), tmp_path / "c.parquet")
    source = opened(tmp_path / "c.parquet", keep=("k",))
    assert [row.text for row in source.rows(598, None)] == ["", "b"]
    assert source.kept_types == {"k": pa.string()}
    assert [example["k"] for example in sealed(source, tmp_path)] == ["a", "b"] * 200


def test_a_column_of_numbers_is_no_text(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": [1, 2]}), tmp_path / "c.parquet")
    assert "holds int64, not text" in refusal(tmp_path / "c.parquet")


def test_typed_columns_travel_through_a_shard_and_load_dataset_reads_them(tmp_path: Path) -> None:
    import datasets

    stamp = datetime.datetime(2026, 1, 2, 3, 4, 5, 678, datetime.UTC)
    columns: dict[str, tuple[pa.DataType, Any, Any]] = {
        "date": (pa.date32(), datetime.date(2026, 1, 2), None),
        "time": (pa.timestamp("us", "UTC"), stamp, None),
        "decimal": (pa.decimal128(9, 2), decimal.Decimal("1234567.89"), None),
        "binary": (pa.binary(), b"\x00\xff", None),
        "fixed": (pa.binary(2), b"\x00\xff", None),
        "nested": (pa.list_(pa.struct([("a", pa.int32())])), [{"a": 1}], None),
        "small": (pa.int8(), -3, None),
        "float": (pa.float32(), 0.5, None),
        "flag": (pa.bool_(), True, None),
        "nothing": (pa.null(), None, None),
        "map": (pa.map_(pa.string(), pa.int32()), [("a", 1)], '[["a", 1]]'),
    }
    arrays = {name: pa.array([value], kind) for name, (kind, value, _) in columns.items()}
    pq.write_table(pa.table({"text": ["t"], **arrays}), tmp_path / "c.parquet")
    source = opened(tmp_path / "c.parquet", keep=tuple(columns))
    [example] = sealed(source, tmp_path)
    for name, (_, value, other) in columns.items():
        assert example[name] == (other or value), name
    loaded = datasets.load_dataset(
        "parquet", data_files=str(tmp_path / "data/*.parquet"), split="train", cache_dir=str(tmp_path / "cache")
    )
    assert loaded[0]["examples"][0]["decimal"] == decimal.Decimal("1234567.89")


KEPT: dict[str, tuple[list[Any], pa.DataType, list[Any]]] = {
    "strings": (["a", None], pa.string(), ["a", None]),
    "ints": ([1, 2**63 - 1, None], pa.int64(), [1, 2**63 - 1, None]),
    "beyond 64 bits": ([1, 2**64], pa.string(), ["1", str(2**64)]),
    "far beyond": ([10**30], pa.string(), [str(10**30)]),
    "ints and floats": ([1, 0.5], pa.float64(), [1.0, 0.5]),
    "ints no float can hold": ([2**53 + 1, 0.5], pa.string(), [str(2**53 + 1), "0.5"]),
    "bools": ([True, None], pa.bool_(), [True, None]),
    "bools and ints": ([True, 1], pa.string(), ["true", "1"]),
    "strings and ints": (["1", 1], pa.string(), ["1", "1"]),
    "nested": ([{"a": [1, "é"]}, [10**20]], pa.string(), ['{"a": [1, "é"]}', f"[{10**20}]"]),
    "nothing": ([None, None], pa.string(), [None, None]),
}


@pytest.mark.parametrize("case", KEPT)
def test_kept_values_of_any_mix_lose_nothing(tmp_path: Path, case: str) -> None:
    given_values, kind, expected = KEPT[case]
    source = opened(
        write_jsonl(tmp_path / "c.jsonl", [{"text": "t", "k": value} for value in given_values]), keep=("k",)
    )
    assert source.kept_types == {"k": kind}
    assert [example["k"] for example in sealed(source, tmp_path)] == expected


# -- datasets on the Hub -----------------------------------------------------------------------------------------------

CARD = "---\nlicense: cc-by-sa-4.0\nlanguage: [en]\nconfigs:\n{configs}---\n"


@pytest.fixture(scope="module")
def instant() -> Iterator[str]:
    """A TGI double without a model: what is held here are sources, not completions."""
    with running("tests.doubles.tgi", "--instant") as url:
        yield url


@pytest.fixture
def seeded(hub: str) -> str:
    """The Hub with a corpus of two configs in Parquet, and one of JSON Lines."""
    card = CARD.format(
        configs="".join(
            f"- config_name: {name}\n  data_files:\n  - split: train\n    path: {name}/*.parquet\n" for name in "ab"
        )
    )
    parquet = {
        f"{name}/{part}.parquet": {"base64": base64.b64encode(as_parquet(rows)).decode()}
        for name in "ab"
        for part, rows in enumerate((ROWS[:4], ROWS[4:]))
    }
    ask(hub, "/_double/commit", {"repo": "lab/corpus", "files": {"README.md": card, **parquet}})
    lines = [{"text": None, "k": None}, *({"text": row["text"], "k": number} for number, row in enumerate(ROWS))]
    ask(hub, "/_double/commit", {"repo": "lab/lines", "files": {"train.jsonl": as_jsonl(lines).decode()}})
    return hub


def on_hub(hub: str, tgi: str, out: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    return run_cli(
        "augment", *arguments, "--engine", tgi, "--out", out, "--max-new-tokens", 16,
        HF_ENDPOINT=hub, HF_HOME=str(out.parent / "hf"),
    )  # fmt: skip


def test_a_dataset_on_the_hub_is_streamed_pinned_and_inherits_its_licence(
    seeded: str, instant: str, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    arguments = ["lab/corpus", "--config", "b", "--keep-column", "title", "--rows-per-shard", "3"]
    first = on_hub(seeded, instant, out, *arguments)
    assert first.returncode == 0, first.stderr
    manifest = json.loads((out / "manifest.json").read_text())
    source = manifest["source"]
    assert (source["kind"], source["name"], source["config_name"], source["split"]) == (
        "hub",
        "lab/corpus",
        "b",
        "train",
    )
    assert source["license"] == ["cc-by-sa-4.0"]
    assert source["language"] == ["en"]
    assert len(source["revision"]) == 40
    card = (out / "README.md").read_text()
    assert "license: cc-by-sa-4.0" in card
    assert "- lab/corpus" in card
    rows = [row for shard in manifest["shards"] for row in pq.read_table(out / shard["path"]).to_pylist()]
    assert [row["examples"][0]["title"] for row in rows] == [row["title"] for row in ROWS]
    assert [row["source_rows"] for row in rows] == [[index] for index in range(len(ROWS))]

    # A shard is taken away as if the run had been killed before it: the stream goes on in the middle.
    manifest["shards"], manifest["finished"] = manifest["shards"][:1], False
    (out / "manifest.json").write_text(json.dumps(manifest))
    before = {path.name: path.read_bytes() for path in (out / "data").iterdir()}
    ask(instant, "/_double/reset", {})
    assert on_hub(seeded, instant, out, *arguments).returncode == 0
    assert {path.name: path.read_bytes() for path in (out / "data").iterdir()} == before
    assert ask(instant, "/_double/state").json["generate"] == 4

    # What came to the dataset since is another source: the run goes on with the commit that it began with.
    ask(seeded, "/_double/commit", {"repo": "lab/corpus", "files": {"note.txt": "hello"}})
    assert on_hub(seeded, instant, out, *arguments).returncode == 0
    moved = on_hub(seeded, instant, out, *arguments, "--revision", "main")
    assert moved.returncode == 2
    assert f"--revision was '{source['revision']}'" in moved.stderr
    assert on_hub(seeded, instant, out, *arguments, "--revision", source["revision"]).returncode == 0


def test_json_lines_on_the_hub_may_begin_with_a_null(seeded: str, instant: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = on_hub(seeded, instant, out, "lab/lines", "--keep-column", "k", "--limit", 4)
    assert done.returncode == 0, done.stderr
    rows = pq.read_table(out / "data/train-00000.parquet").to_pylist()
    assert [(row["source_rows"], int(row["examples"][0]["k"])) for row in rows] == [([1], 0), ([2], 1), ([3], 2)]
    assert json.loads((out / "manifest.json").read_text())["shards"][0]["counts"]["rows_rejected/null"] == 1


def test_what_the_hub_does_not_have_is_said_in_one_line(seeded: str, tmp_path: Path) -> None:
    asked: list[tuple[list[str], list[str]]] = [
        (["lab/none"], ["no dataset lab/none"]),
        (["lab/corpus", "--config", "c"], ["lab/corpus", "'a'", "'b'"]),
        (["lab/corpus"], ["lab/corpus", "onfig", "'a'"]),
        (["lab/corpus", "--config", "a", "--split", "test"], ["test", "train"]),
        (["lab/corpus", "--config", "a", "--revision", "v9"], ["no revision 'v9'"]),
        (["lab/corpus", "--config", "a", "--text-column", "body"], ["no column 'body'", "text", "title"]),
        (["lab/lines", "--keep-column", "url"], ["no column 'url'", "--keep-column"]),
    ]
    rest = ["--engine", "http://127.0.0.1:9", "--out", str(tmp_path / "out")]
    commands = [["augment", *arguments, *rest] for arguments, _ in asked]
    answers = cases(commands, HF_ENDPOINT=seeded, HF_HOME=str(tmp_path / "hf"))
    for (arguments, words), (status, _, err) in zip(asked, answers, strict=True):
        assert status == 2, err
        [line] = [line for line in err.splitlines() if line.startswith("hub-instructpt: ")]
        for word in words:
            assert word in line, (arguments, line)
        assert err.strip().endswith(line)
        assert "Traceback" not in err
    assert not (tmp_path / "out").exists()


def test_a_hub_that_is_gone_is_said_in_one_line(tmp_path: Path) -> None:
    done = on_hub("http://127.0.0.1:9", "http://127.0.0.1:9", tmp_path / "out", "lab/corpus")
    assert done.returncode in (1, 2)
    assert len(done.stderr.strip().splitlines()) == 1
    assert "lab/corpus" in done.stderr
