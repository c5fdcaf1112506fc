"""Readers of a model's other files, by transformers: tokenizers, and the configuration in a GGUF file."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from boundprobe.checks import refuse
from boundprobe.errors import MissingDependencyError
from boundprobe.text import one_line

NO_TRANSFORMERS = (
    "a model of Hugging Face needs the package transformers, which is not installed. Run: pip install 'boundprobe[hf]'."
)
#: Packages by which transformers reads GGUF files.
GGUF_PACKAGES = ("gguf", "accelerate")
#: Files of which a folder with a tokenizer has one.
TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt")


@contextmanager
def quiet() -> Iterator[None]:
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


def check_gguf_packages() -> None:
    """Raise ``MissingDependencyError`` without the packages that read a ``.gguf`` file."""
    if missing := [name for name in GGUF_PACKAGES if find_spec(name) is None]:
        raise MissingDependencyError(
            f"a .gguf file needs the packages {' and '.join(GGUF_PACKAGES)}; not installed: {', '.join(missing)}. "
            f"Run: pip install {' '.join(missing)}."
        )


def gguf_configuration(path: Path) -> dict[str, Any]:
    """The configuration that transformers reads from a ``.gguf`` file, without the release that read it.

    Raises
    ------
    MissingDependencyError
        Without the packages for it.
    ValueError
        If it is no such file.
    """
    try:
        from transformers import AutoConfig
    except ImportError:
        raise MissingDependencyError(NO_TRANSFORMERS) from None
    check_gguf_packages()
    try:
        with quiet():
            values: dict[str, Any] = AutoConfig.from_pretrained(str(path.parent), gguf_file=path.name).to_dict()
    except (OSError, ValueError, KeyError) as error:
        refuse("--hf", "a .gguf file that transformers reads", f"{path} ({one_line(error, 300)})")
    return {key: value for key, value in values.items() if key != "transformers_version"}


def load_tokenizer(path: Path) -> Any:
    """The tokenizer in the folder of a model, or in its ``.gguf`` file; None where a folder has none.

    No code of the folder is executed.

    Raises
    ------
    MissingDependencyError
        Without transformers.
    ValueError
        If there is one that transformers does not read.
    """
    try:
        from transformers import AutoTokenizer
    except ImportError:
        raise MissingDependencyError(NO_TRANSFORMERS) from None
    if path.is_dir() and not any((path / name).is_file() for name in TOKENIZER_FILES):
        return None
    place, options = (path, {}) if path.is_dir() else (path.parent, {"gguf_file": path.name})
    try:
        with quiet():
            return AutoTokenizer.from_pretrained(str(place), trust_remote_code=False, local_files_only=True, **options)
    except (OSError, ValueError, KeyError) as error:
        refuse("--hf", "a model whose tokenizer transformers reads without code of the model's own",
               f"{path} ({one_line(error, 300)})")  # fmt: skip
