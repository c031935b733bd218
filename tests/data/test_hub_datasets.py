"""Data sets of the Hub, through the real ``datasets`` client against a stub; class numbers become names."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import datasets
import pytest

from feinschliff.config.data import DataConfig
from feinschliff.data import hub_datasets
from feinschliff.data.sources import open_rows, sha256_of_sources
from feinschliff.errors import DataError, ResourceError
from tests.data.dataset_stub import COMMIT, NAME, serve

FILES = {
    "train.csv": b"text,label\nwhere is my parcel,delivery\nrefund please,money\n",
    "test.csv": b"text,label\nmy card is lost,card\n",
}
CODE = """
import json, sys
from feinschliff.config.data import DataConfig
from feinschliff.data.sources import open_rows, sha256_of_sources
from feinschliff.errors import FeinschliffError
try:
    rows = open_rows([sys.argv[1]], DataConfig())
    found = [[dict(row.cells), row.place.file, row.place.line] for row in rows]
    print(json.dumps(sha256_of_sources([sys.argv[1]]) if sys.argv[2:] else found))
except FeinschliffError as error:
    print(json.dumps([type(error).__name__, str(error)]))
"""


def read(spec: str, endpoint: str, home: Path, *arguments: str, **environment: str) -> list[object]:
    """Read in a process of its own: the client takes ``HF_ENDPOINT`` when it is imported."""
    environment = {**os.environ, "HF_HOME": str(home), "HF_ENDPOINT": endpoint, "HF_HUB_DISABLE_XET": "1"} | environment
    done = subprocess.run(
        [sys.executable, "-c", CODE, spec, *arguments], capture_output=True, text=True, check=True, env=environment
    )
    answer: list[object] = json.loads(done.stdout.splitlines()[-1])
    return answer


@pytest.mark.slow
def test_splits_revisions_and_the_cache(tmp_path: Path) -> None:
    with serve(FILES) as endpoint:
        assert read(f"hf:{NAME}", endpoint, tmp_path) == [
            [{"text": "where is my parcel", "label": "delivery"}, f"hf:{NAME}", 1],
            [{"text": "refund please", "label": "money"}, f"hf:{NAME}", 2],
        ]
        spec = f"hf:{NAME}@{COMMIT}:test"
        assert read(spec, endpoint, tmp_path) == [[{"text": "my card is lost", "label": "card"}, spec, 1]]
        kind, message = read(f"hf:{NAME}:nothing", endpoint, tmp_path)
        assert (kind, "nothing" in str(message)) == ("DataError", True)
        assert read("hf:owner/absent", endpoint, tmp_path)[0] == "DataError"
        commits = read(f"hf:{NAME}", endpoint, tmp_path, "hash")
        assert commits == {f"hf:{NAME}": f"commit {COMMIT}"}, "a report names what was read, pinned or not"
    rows = read(f"hf:{NAME}", endpoint, tmp_path, FEINSCHLIFF_OFFLINE="1")
    assert len(rows) == 2, "what was loaded once needs no network"


def test_the_commit_is_that_of_the_last_opening(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commits = iter(["a" * 40, "b" * 40])

    def load(*_: object) -> datasets.Dataset:
        folder = tmp_path / next(commits)
        folder.mkdir()
        return datasets.Dataset.from_dict({"text": ["a"]}).map(lambda row: row, cache_file_name=str(folder / "x.arrow"))

    monkeypatch.setattr(hub_datasets, "_load", load)
    for commit in ("a" * 40, "b" * 40):
        open_rows(["hf:some/moving"], DataConfig())
        for _ in range(2):  # asks nothing anew: what a branch holds by now is not what was read
            assert sha256_of_sources(["hf:some/moving"]) == {"hf:some/moving": f"commit {commit}"}


def test_class_numbers_become_names(monkeypatch: pytest.MonkeyPatch) -> None:
    names = datasets.ClassLabel(names=["no", "yes"])
    features = datasets.Features({"text": datasets.Value("string"), "label": names, "tags": datasets.List(names)})
    columns = {"text": ["a", "b"], "label": [1, -1], "tags": [[0, 1], []]}
    loaded = datasets.Dataset.from_dict(columns, features=features)
    monkeypatch.setattr(hub_datasets, "_load", lambda *_: loaded)
    rows = [dict(row.cells) for row in open_rows(["hf:some/set"], DataConfig())]
    assert rows == [
        {"text": "a", "label": "yes", "tags": ["no", "yes"]},
        {"text": "b", "label": None, "tags": []},
    ]


@pytest.mark.parametrize("spec", ["hf:", "hf:a/b/c", "hf:owner/name@", "hf:owner/name with blanks"])
def test_malformed(spec: str) -> None:
    with pytest.raises(DataError, match="is not a data set"):
        open_rows([spec], DataConfig())


def test_no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise ConnectionError("Couldn't reach 'owner/name' on the Hub")

    monkeypatch.setattr(datasets, "load_dataset", refuse)
    with pytest.raises(ResourceError, match="cannot be reached") as caught:
        open_rows(["hf:owner/name"], DataConfig())
    assert caught.value.exit_code == 2
