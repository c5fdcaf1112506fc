"""Models from a folder on this machine: safetensors or GGUF, and never code that comes with them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from boundprobe.checks import check_word, refuse
from boundprobe.errors import MissingDependencyError
from boundprobe.hf.cut_model import HuggingFaceModel
from boundprobe.hf.layer_size import DTYPE_BITS
from boundprobe.hf.wrapped import wrap
from boundprobe.text import one_line

#: Packages by which transformers reads GGUF files.
GGUF_PACKAGES = ("gguf", "accelerate")


def load(source: Path | str, *, dtype: str | None = None, device: str = "cpu") -> HuggingFaceModel:
    """Load a causal language model of transformers as a model that answers across a cut.

    Nothing is downloaded, no code of the folder is executed (``trust_remote_code=False``), and no pickle is read.

    Parameters
    ----------
    source : path or str
        A folder with ``config.json`` and weights as safetensors, a ``.gguf`` file (with the packages gguf and
        accelerate), or the name of a model that is in the cache of Hugging Face on this machine.
    dtype : str, optional
        Type of the weights, such as ``"float32"``; that of the files if not given.
    device : str

    Returns
    -------
    HuggingFaceModel

    Raises
    ------
    MissingDependencyError
        Without transformers, or without the packages for a ``.gguf`` file.
    ValueError
        If there is no such model, or it is not a causal language model, or needs code of its own.
    ContinuationError
        If the model does not continue from its own cache (``boundprobe.hf.check_continuation``).

    Examples
    --------
    >>> import tempfile
    >>> from transformers import LlamaConfig, LlamaForCausalLM
    >>> config = LlamaConfig(vocab_size=8, hidden_size=8, num_hidden_layers=1, num_attention_heads=1)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     LlamaForCausalLM(config).save_pretrained(folder)
    ...     model = load(folder)
    >>> model.family
    'llama'
    """
    try:
        from transformers import AutoModelForCausalLM
    except ImportError:
        raise MissingDependencyError(
            "a model of Hugging Face needs the package transformers, which is not installed. Run: pip install "
            "'boundprobe[hf]'."
        ) from None
    place, options = _place(source)
    if dtype is not None:
        options["dtype"] = check_word("dtype", dtype, DTYPE_BITS)
    try:
        with _quiet():
            model = AutoModelForCausalLM.from_pretrained(
                place, trust_remote_code=False, local_files_only=True, **options
            )
    except (OSError, ValueError, KeyError) as error:
        refuse("source", "a causal language model that transformers loads from safetensors without code of the model's "
               "own", f"{source} ({one_line(error, 300)})")  # fmt: skip
    to: Any = model.to  # whose types are those of a decorated function
    return wrap(to(device))


@contextmanager
def _quiet() -> Iterator[None]:
    """No progress bars where standard error is no terminal."""
    from transformers import utils

    logging: Any = utils.logging
    shown = logging.is_progress_bar_enabled() and not sys.stderr.isatty()
    if shown:
        logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def _place(source: Path | str) -> tuple[str, dict[str, Any]]:
    """The folder or name for ``from_pretrained``, and how its weights are read."""
    path = Path(source)
    if path.suffix == ".gguf":
        if missing := [name for name in GGUF_PACKAGES if find_spec(name) is None]:
            raise MissingDependencyError(
                f"a .gguf file needs the packages {' and '.join(GGUF_PACKAGES)}; not installed: {', '.join(missing)}. "
                f"Run: pip install {' '.join(missing)}."
            )
        if not path.is_file():
            refuse("source", "a file that is there", f"{path}")
        return str(path.parent), {"gguf_file": path.name}
    if path.is_dir() and not any(path.glob("*.safetensors")):
        refuse("source", "a folder with weights as safetensors", f"{path}, which has none")
    return str(source), {"use_safetensors": True}
