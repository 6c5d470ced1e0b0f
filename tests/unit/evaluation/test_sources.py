from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from medguard.errors import DataError
from medguard.evaluation.sources import Source, Use, content_digest, manifest, source


def test_every_source_of_the_design_is_listed_with_licence_and_citation() -> None:
    repositories = {item.repository for item in manifest().values()}
    assert repositories == {
        "AdversariaLLM",
        "MedQuAD",
        "Medication_QA_MedInfo2019",
        "artifacts",
        "exaggerated-safety",
        "hh-rlhf",
        "med-safety-bench",
        "pubmedqa",
        "self-instruct",
    }
    for item in manifest().values():
        assert item.licence
        assert item.citation
        assert item.terms.endswith(".")


def test_evaluation_sources_may_not_train() -> None:
    assert {name for name, item in manifest().items() if item.use is Use.EVALUATE} == {
        "medication-qa",
        "pubmedqa",
        "xstest",
    }


def test_unknown_source_names_the_known_ones() -> None:
    with pytest.raises(DataError, match=r"unknown source 'nope'.*med-safety-bench"):
        source("nope")


def test_archive_name_has_owner_repository_and_short_commit() -> None:
    assert source("pubmedqa").archive_name == "pubmedqa+pubmedqa-1cbae8e92f72.tar.gz"


@pytest.mark.parametrize("field", ["commit", "digest"])
def test_a_shortened_hash_is_refused(field: str) -> None:
    values = source("pubmedqa").model_dump() | {field: "abc123"}
    with pytest.raises(ValidationError):
        Source(**values)


@given(st.dictionaries(st.text(min_size=1), st.binary(), min_size=1))
def test_digest_ignores_order_and_sees_every_change(contents: dict[str, bytes]) -> None:
    digest = content_digest(contents)
    assert digest == content_digest(dict(reversed(contents.items())))
    first = next(iter(contents))
    assert digest != content_digest(contents | {first: contents[first] + b"x"})
    assert digest != content_digest({name: data for name, data in contents.items() if name != first})
