"""A short real training run: it can be stopped and continued, and its bundle works."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from medguard import Checker, Classifier
from medguard.bundle import Bundle
from medguard.errors import MedGuardError
from medguard.scores import LABELS
from tests.upstream import requires_upstream
from training import parity
from training.batches import Encoded, encode, epoch_order
from training.config import CascadeConfig, PoolConfig, TeacherConfig, TrainingConfig
from training.corpus import build_examples
from training.distill import distill
from training.encoder import load_pretrained
from training.loop import CHECKPOINT, train
from training.soft_labels import load_teacher, start_from
from training.weights import encoder_folder

ROOT = Path(__file__).resolve().parents[2]
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def config() -> TrainingConfig:
    """The released settings, on a few examples of each source and for one epoch."""
    released = TrainingConfig.from_toml(ROOT / "training" / "configs" / "minilm.toml")
    data = released.data.model_copy(update={"limit": 24, "medquad_questions": 24, "medquad_answers": 8})
    optimiser = released.optimiser.model_copy(update={"epochs": 1, "batch_size": 16, "checkpoint_steps": 4})
    windows = released.windows.model_copy(
        update={"max_tokens": 64, "stride_tokens": 32, "context_tokens": 16}
    )
    return released.model_copy(update={"data": data, "optimiser": optimiser, "windows": windows})


def random_examples(count: int) -> list[Encoded]:
    draw = np.random.default_rng(5)
    return [
        Encoded(
            ids=[101, *map(int, draw.integers(1000, 20000, length)), 102],
            types=[0] * (length + 2),
            targets=tuple(map(float, draw.integers(0, 2, 17))),
            mask=(1.0,) * 17,
            weight=1.0,
        )
        for length in draw.integers(4, 30, count)
    ]


def test_a_stopped_run_continues_to_the_same_weights(tmp_path: Path, config: TrainingConfig) -> None:
    data = random_examples(64)

    def fresh() -> torch.nn.Module:
        torch.manual_seed(7)
        return load_pretrained(config.encoder)

    straight, stopped, continued = fresh(), fresh(), fresh()
    assert train(straight, data, config, tmp_path / "straight", device=CPU)
    assert not train(stopped, data, config, tmp_path / "halves", device=CPU, stop_after_steps=2)
    assert train(continued, data, config, tmp_path / "halves", device=CPU)
    for (name, one), other in zip(
        straight.state_dict().items(), continued.state_dict().values(), strict=True
    ):
        assert torch.equal(one, other), name
    assert any(
        not torch.equal(one, other)
        for one, other in zip(stopped.state_dict().values(), continued.state_dict().values(), strict=True)
    )


def test_frozen_words_stay_as_they_were_pre_trained(tmp_path: Path, config: TrainingConfig) -> None:
    frozen = config.model_copy(
        update={"optimiser": config.optimiser.model_copy(update={"freeze_words": True})}
    )
    torch.manual_seed(7)
    model = load_pretrained(config.encoder, 1)
    words = model.encoder.get_input_embeddings().weight.clone()
    layer = model.encoder.encoder.layer[0].output.dense.weight.clone()
    assert train(model, random_examples(16), frozen, tmp_path, device=CPU)
    assert torch.equal(model.encoder.get_input_embeddings().weight, words)
    assert not torch.equal(model.encoder.encoder.layer[0].output.dense.weight, layer)


@requires_upstream()
def test_borderline_requests_are_softened_below_harmful(config: TrainingConfig) -> None:
    data = config.data.model_copy(update={"borderline": 0.3})
    at_1, at_2 = LABELS.index("request_harm>=1"), LABELS.index("request_harm>=2")
    plain, soft = build_examples(config.data, 1), build_examples(data, 1)
    pairs = list(zip(plain, soft, strict=True))
    changed = [(before, after) for before, after in pairs if before.targets != after.targets]
    assert changed
    assert all(before.targets[at_1] == 1.0 and before.targets[at_2] == 0.0 for before, _ in changed)
    assert all(after.targets[at_2] == 0.3 for _, after in changed)
    assert all(before.is_benign_medical_request == after.is_benign_medical_request for before, after in pairs)


@requires_upstream()
def test_distil_gives_a_bundle_that_a_checker_runs(
    tmp_path: Path, config: TrainingConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert distill(config, tmp_path / "bundle", tmp_path / "run", device=CPU)
    bundle = Bundle(tmp_path / "bundle")
    bundle.verify()
    assert set(bundle.config.operating_points) == {"strict", "balanced", "permissive"}
    assert bundle.config.training["parity"]["int8"]["mean_probability_difference"] < 0.05
    classifier = Classifier.load(tmp_path / "bundle", device="cpu")
    verdict = Checker(classifier=classifier).check_prompt("How do I clean a wound?")
    assert not verdict.failed
    # The graph for GPUs, on the CPU, where any machine can run it.
    document = json.loads((tmp_path / "bundle" / "classifier.json").read_text(encoding="utf-8"))
    document["graphs"] = {"cpu": document["graphs"]["gpu"]}
    (tmp_path / "bundle" / "classifier.json").write_text(json.dumps(document), encoding="utf-8")
    half = Classifier.load(tmp_path / "bundle", device="cpu")
    assert half.score("How do I clean a wound?").prompt_score == pytest.approx(verdict.score, abs=0.05)
    other = config.model_copy(update={"seed": 1})
    with pytest.raises(MedGuardError, match="checkpoint of other settings"):
        distill(other, tmp_path / "bundle", tmp_path / "run", device=CPU)
    # A graph that the quality gate refuses leaves the bundle before as it was.
    monkeypatch.setattr(parity, "MAX_AUROC_LOSS", -1.0)
    monkeypatch.setattr(parity, "_FEWEST_GATED", 1)
    with pytest.raises(MedGuardError, match="AUROC on"):
        distill(config, tmp_path / "bundle", tmp_path / "run", device=CPU)
    Bundle(tmp_path / "bundle").verify()


@requires_upstream()
def test_weights_of_a_bundle_are_not_taken_for_a_stopped_run(tmp_path: Path, config: TrainingConfig) -> None:
    torch.save({"model": {}}, tmp_path / CHECKPOINT)
    with pytest.raises(MedGuardError, match="read back from a bundle"):
        distill(config, None, tmp_path, device=CPU)


@requires_upstream()
def test_a_student_starts_from_its_teacher_and_learns_its_scores(
    tmp_path: Path, config: TrainingConfig
) -> None:
    teacher = config.model_copy(update={"id": "teacher", "exit_layer": 3})
    pool = PoolConfig(
        llama3_requests=20, medquad_questions=20, dialogues=20, framed_requests=20, dialogue_answers=20
    )
    student = config.model_copy(
        update={
            "id": "student",
            "layers": 3,
            "exit_layer": 1,
            "cascade": CascadeConfig(miss_rate=0.05),
            "feed_forward_width": 256,
            "gpu_graph": False,
            "teacher": TeacherConfig(settings="teacher", seeds=(1, 2), weight=0.5, pool=pool),
        }
    )
    with pytest.raises(MedGuardError, match="no checkpoint of the teacher"):
        distill(student, tmp_path / "bundle", tmp_path / "student", device=CPU, teacher=teacher)
    for seed in (1, 2):
        run = teacher.with_seed(seed)
        assert not distill(run, None, tmp_path / run.id, device=CPU, stop_after_steps=2)
    built = tmp_path / "student" / "bundle"
    assert distill(student, built, tmp_path / "student", device=CPU, teacher=teacher)
    bundle = Bundle(built)
    bundle.verify()
    assert bundle.config.graphs == {"cpu": "model.int8.onnx"}
    assert bundle.config.training["record"]["train_examples"]["pool"] > 40
    cascade = bundle.config.training["cascade"]
    assert cascade["exit_layer"] == 1
    assert 0.0 <= cascade["settled_share"]["medsafetybench"] < 1.0
    assert not Checker(classifier=Classifier.load(built, device="cpu")).check_prompt("How are you?").failed
    taught = load_teacher(teacher, tmp_path / "teacher-1")
    fresh = load_pretrained(config.encoder, 3, 1)
    own_exit = fresh.exit_head.weight.clone()
    start_from(fresh, taught)
    assert torch.equal(fresh.head.weight, taught.exit_head.weight)
    assert torch.equal(fresh.exit_head.weight, own_exit)
    assert torch.equal(
        fresh.encoder.encoder.layer[1].output.dense.weight,
        taught.encoder.encoder.layer[1].output.dense.weight,
    )
    grown = load_teacher(student, tmp_path / "student")
    further = load_pretrained(config.encoder, 3, 1)
    start_from(further, grown)
    assert all(torch.equal(value, grown.state_dict()[name]) for name, value in further.state_dict().items())
    later = student.model_copy(
        update={
            "id": "later",
            "feed_forward_width": 192,
            "teacher": TeacherConfig(settings="student", weight=0.5, pool=pool),
        }
    )
    assert distill(later, None, tmp_path / "later", device=CPU, teacher=student)
    assert load_teacher(later, tmp_path / "later").config.intermediate_size == 192
    data = teacher.data.model_copy(update={"holdout_fraction": 0.3})
    other = teacher.model_copy(update={"data": data})
    with pytest.raises(MedGuardError, match="hold out the same fraction"):
        distill(student, tmp_path / "bundle", tmp_path / "other", device=CPU, teacher=other)


def test_training_and_runtime_build_the_same_windows(classifier: Classifier) -> None:
    """Token ids of a short request and of a pair are those that the classifier makes at run time."""
    from training.examples import Example

    settings = TrainingConfig.from_toml(ROOT / "training" / "configs" / "minilm.toml").windows
    empty = (0.0,) * 17
    pairs = [("Is this safe?", None), ("Is this safe?", "It is, in most cases."), ("x " * 500, "y " * 500)]
    for prompt, response in pairs:
        example = Example("id", "s", "g", prompt, response, empty, empty)
        (trained,) = encode([example], classifier._tokenizer, settings, classifier.config.special_tokens)
        first = classifier._windows(0, prompt, response)[0]
        assert (trained.ids, trained.types) == (first.ids, first.types)


def test_batches_cover_every_example_once_and_depend_on_seed_and_epoch() -> None:
    lengths = list(np.random.default_rng(6).integers(3, 200, 500))
    plan = epoch_order(lengths, 16, seed=1, epoch=0)
    assert sorted(index for batch in plan for index in batch) == list(range(500))
    assert plan == epoch_order(lengths, 16, seed=1, epoch=0)
    assert plan != epoch_order(lengths, 16, seed=1, epoch=1)
    assert plan != epoch_order(lengths, 16, seed=2, epoch=0)


def test_an_unknown_encoder_names_the_known_ones() -> None:
    with pytest.raises(MedGuardError, match="known are all-MiniLM-L6-v2"):
        encoder_folder("gpt-9")
