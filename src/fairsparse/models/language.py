"""Networks for texts, and any classifier of Hugging Face transformers."""

from __future__ import annotations

import importlib
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor, nn

from fairsparse.core import InputError
from fairsparse.models.registry import MODELS

_HUB = ("huggingface.co", 443)


class TextNetwork(nn.Module):
    """A sequence classifier of transformers as a network from token ids to logits.

    Token ids (B, L) end in -1 where a text is shorter. Its embedding knows `vocabulary` ids, and it
    takes texts of up to `length`, if that is limited.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        self.vocabulary: int = model.get_input_embeddings().num_embeddings
        self.length: int | None = getattr(model.config, "max_position_embeddings", None)
        pad = model.config.pad_token_id
        self.pad = pad if isinstance(pad, int) and 0 <= pad < self.vocabulary else 0

    def forward(self, x: Tensor) -> Tensor:
        """Map token ids (B, L), int64, to logits (B, C)."""
        is_token = x >= 0
        ids = torch.where(is_token, x, self.pad)
        return self.model(input_ids=ids, attention_mask=is_token.long()).logits


class ImageNetwork(nn.Module):
    """An image classifier of transformers as a network from images to logits."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        """Map images (B, channels, H, W) to logits (B, C)."""
        return self.model(pixel_values=x).logits


@MODELS.register("bert")
def bert(
    input_shape: tuple[int, ...],
    n_classes: int,
    *,
    vocab_size: Annotated[int, Field(ge=1, description="at least the data's")] = 8192,
    hidden: Annotated[int, Field(ge=1, description="a multiple of heads")] = 128,
    layers: Annotated[int, Field(ge=1, description="attention and feed-forward, one each")] = 2,
    heads: Annotated[int, Field(ge=1, description="of attention, in each layer")] = 2,
    intermediate: Annotated[int, Field(ge=1, description="neurons of a feed-forward block")] = 512,
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1,
) -> nn.Module:
    """BERT from scratch (arXiv:1810.04805); by default BERT-tiny, 1.5M parameters."""
    _texts("bert", input_shape)
    if hidden % heads:
        raise InputError(f"bert: hidden is {hidden}, no multiple of {heads} heads; change either")
    transformers = _transformers()
    config = transformers.BertConfig(
        vocab_size=vocab_size,
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=intermediate,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
        max_position_embeddings=max(512, input_shape[0]),
        num_labels=n_classes,
    )
    return TextNetwork(transformers.BertForSequenceClassification(config))


def hugging_face(source: str) -> Callable[..., nn.Module]:
    """Return a constructor of the classifier in a local directory, or of that name on the hub.

    Texts get ``AutoModelForSequenceClassification``, images ``AutoModelForImageClassification``,
    with a new head where the number of classes differs. Weights are read from safetensors alone,
    and no code that comes with a model is run.
    """

    def make(input_shape: tuple[int, ...], n_classes: int) -> nn.Module:
        transformers = _transformers()
        folder = Path(source) if Path(source).is_dir() else _from_hub(source)
        if not any(folder.glob("*.safetensors")):
            pickled = any(folder.glob("*.bin"))
            raise InputError(
                f"model 'hf:{source}': no .safetensors in {folder}"
                + ("; pickled weights are not loaded: convert them" if pickled else "")
            )
        image = len(input_shape) == 3
        kind = "ImageClassification" if image else "SequenceClassification"
        if not image:
            _texts(f"hf:{source}", input_shape)
        with _quiet(transformers):
            try:
                model = getattr(transformers, f"AutoModelFor{kind}").from_pretrained(
                    folder,
                    num_labels=n_classes,
                    ignore_mismatched_sizes=True,
                    use_safetensors=True,
                    local_files_only=True,
                    trust_remote_code=False,
                    dtype=torch.float32,
                )
            except Exception as error:  # whatever a configuration makes transformers raise
                reason = (str(error).splitlines() or [type(error).__name__])[0]
                raise InputError(f"model 'hf:{source}' was not loaded: {reason}") from None
        return ImageNetwork(model) if image else TextNetwork(model)

    return make


def _from_hub(name: str) -> Path:
    hub = importlib.import_module("huggingface_hub")
    wanted = ["config.json", "*.safetensors", "*.safetensors.index.json"]
    try:
        return Path(hub.snapshot_download(name, allow_patterns=wanted, local_files_only=True))
    except Exception:  # not in the cache, or no name of a model
        pass
    if os.environ.get("HF_HUB_OFFLINE") or not _reachable():
        raise InputError(
            f"model 'hf:{name}': there is no such directory, and the hub cannot be reached; put"
            f" config.json and model.safetensors of {name} into a directory and give hf:DIRECTORY"
        )
    try:
        return Path(hub.snapshot_download(name, allow_patterns=wanted))
    except Exception as error:  # unknown or gated, or the connection broke
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(f"model 'hf:{name}' was not fetched from the hub: {reason}") from None


def _reachable() -> bool:
    try:
        with socket.create_connection(_HUB, timeout=3):
            return True
    except OSError:
        return False


def _texts(name: str, input_shape: tuple[int, ...]) -> None:
    if len(input_shape) != 1:
        raise InputError(
            f"{name} takes token ids (length,), the task's inputs have shape {input_shape}; use a"
            " model for such inputs, or a data set of texts"
        )


@contextmanager
def _quiet(transformers: Any) -> Iterator[None]:
    """Without transformers' remarks on a new head, which is what was asked for."""
    level = transformers.logging.get_verbosity()
    bars = transformers.logging.is_progress_bar_enabled()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers.logging.set_verbosity(level)
        if bars:
            transformers.logging.enable_progress_bar()


def _transformers() -> Any:
    try:
        return importlib.import_module("transformers")
    except ImportError:
        raise InputError('this model needs transformers: pip install "fairsparse[text]"') from None
