"""Xet, with the real hf_xet: a push, a verification and a load whose bytes go through it, and buckets, which need it.

The store is a folder (`local://`): what hf_xet does over the network to a real one is not seen here. One process at a
time may work on it, so each test has a double and a store of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from hub_instructpt.errors import SettingsError
from hub_instructpt.hub.buckets import Address
from tests.doubles.process import running
from tests.push_cases import client, make_part, make_run

pytest.importorskip("hf_xet")
pytestmark = pytest.mark.xdist_group("push")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("run"))


@pytest.fixture
def xet_hub(tmp_path: Path) -> Iterator[str]:
    (tmp_path / "store").mkdir()
    with running("tests.doubles.hub", "--xet", str(tmp_path / "store")) as url:
        yield url


def test_a_push_goes_through_xet(xet_hub: str, run: Path, tmp_path: Path) -> None:
    client(
        """
        from datasets import load_dataset
        repo = "tester/xet"
        assert hub.push(run, repo).changed
        seen = [r["path"] for r in control("requests")]
        assert any("xet-write-token" in path for path in seen) and not any("/lfs/" in path for path in seen)
        assert len(list((here / "store").rglob("*.mdb"))) and len(commits(repo)) == 2
        assert not hub.push(run, repo).changed
        assert hub.verify_repo(repo).findings == [] and hub.verify_repo(repo).rows == 5
        assert any("xet-read-token" in r["path"] for r in control("requests"))
        assert load_dataset(repo, split="train").num_rows == 5
        assert hub.push(part, repo).changed and hub.verify_repo(repo).rows == 4
        """,
        xet_hub, run, make_part(run, tmp_path / "part"), tmp_path, HF_HUB_DISABLE_XET="0",
    )  # fmt: skip


def test_a_bucket_is_filled_and_brought_up_to_date(xet_hub: str, run: Path, tmp_path: Path) -> None:
    client(
        """
        import logging
        logging.disable(logging.WARNING)
        failures.FIRST_WAIT_SECONDS = 0.01
        bucket = "hf://buckets/tester/store/corpora/topics"
        def batches():
            return len([r for r in control("requests") if r["path"].endswith("/batch")])
        def files():
            return {e.path: e.size for e in api.list_bucket_tree("tester/store", recursive=True)}
        status, out, err = cli("push", part, bucket, "--private")
        assert status == 0 and 'load_dataset("buckets/tester/store/corpora/topics"' in out, (out, err)
        names = {f"corpora/topics/{name}" for name in ("manifest.json", "README.md", "data/train-00000.parquet")}
        assert names <= files().keys() and api.bucket_info("tester/store").private
        before = batches()
        status, out, err = cli("push", part, bucket)
        assert "nothing has changed" in out and batches() == before
        assert hub.push_to_bucket(run, bucket).changed and batches() == before + 2
        sizes = files()
        assert sizes["corpora/topics/data/train-00002.parquet"] == (run / "data/train-00002.parquet").stat().st_size
        assert hub.push_to_bucket(part, bucket).changed
        assert "corpora/topics/data/train-00002.parquet" not in files()
        there = [e for e in api.list_bucket_tree("tester/store", recursive=True) if e.path.endswith("00001.parquet")]
        api.download_bucket_files("tester/store", [(there[0], here / "back.parquet")])
        assert (here / "back.parquet").read_bytes() == (part / "data/train-00001.parquet").read_bytes()

        # Another folder is another corpus; trouble passes; what is somebody else's stays.
        control("faults", {"match": "POST /api/buckets/tester/store$", "status": 503})
        control("faults", {"match": "GET .*/tree", "status": 500})
        assert hub.push_to_bucket(run, "hf://buckets/tester/store").changed
        assert not hub.push_to_bucket(part, bucket).changed
        api.batch_bucket_files("tester/store", add=[(b"mine", "theirs/notes.txt")])
        refused(1, ["holds something else", "notes.txt"], run, "hf://buckets/tester/store/theirs")
        refused(1, ["no right"], run, "hf://buckets/stranger/store")
        refused(2, ["no branches"], run, bucket, "--revision", "x")
        refused(2, ["no bucket"], run, "hf://buckets/tester")
        """,
        xet_hub, run, make_part(run, tmp_path / "part"), tmp_path, HF_HUB_DISABLE_XET="0",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("hf://buckets/a/b", Address("a/b")),
        ("hf://buckets/a/b/", Address("a/b")),
        ("hf://buckets/a/b/c/d", Address("a/b", "c/d/")),
    ],
)
def test_addresses_of_buckets(text: str, address: Address) -> None:
    assert Address.parse(text) == address


@pytest.mark.parametrize(
    "text", ["hf://buckets/", "hf://buckets/a", "hf://buckets/a/../b", "hf://buckets/a/b/./c", "hf://buckets/a//b"]
)
def test_what_is_no_bucket(text: str) -> None:
    with pytest.raises(SettingsError, match="no bucket"):
        Address.parse(text)
