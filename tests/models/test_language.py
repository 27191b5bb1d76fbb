"""Transformers: padding that changes nothing, local directories, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor, nn

from fairsparse.core import InputError
from fairsparse.masks.maskset import prunable
from fairsparse.models import build, language

SMALL: dict[str, Any] = {"vocab_size": 60, "hidden": 16, "heads": 2, "intermediate": 24}
CONFIG: dict[str, Any] = {
    "vocab_size": 60,
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 24,
}


def tokens(n: int = 6, length: int = 11) -> Tensor:
    x = torch.randint(1, 60, (n, length), generator=torch.Generator().manual_seed(0))
    for i in range(n):
        x[i, 4 + i :] = -1
    return x


def test_padding_changes_nothing() -> None:
    model, x = build("bert", (11,), 3, **SMALL).eval(), tokens()
    whole = model(x)
    for i in range(len(x)):
        alone = x[i : i + 1, : 4 + i]
        torch.testing.assert_close(model(alone)[0], whole[i], atol=1e-5, rtol=1e-4)
    longer = torch.cat([x, torch.full((len(x), 9), -1)], 1)
    assert torch.equal(model(longer), whole)


def test_sizes_of_bert() -> None:
    base = {"vocab_size": 30522, "hidden": 768, "layers": 12, "heads": 12, "intermediate": 3072}
    with torch.device("meta"):
        model = build("bert", (128,), 2, **base)
    # BERT-base has 109.48M parameters (Devlin et al.: 110M), and a head of 2 x 769
    assert sum(p.numel() for p in model.parameters()) == 109_482_240 + 2 * 769
    weights = prunable(model)
    # 12 blocks of six matrices, and the pooler; embeddings and the classifier stay
    assert len(weights) == 12 * 6 + 1
    assert sum(w.numel() for w in weights.values()) == 12 * (4 * 768**2 + 2 * 768 * 3072) + 768**2
    with pytest.raises(InputError, match="hidden is 10, no multiple of 3 heads"):
        build("bert", (8,), 2, hidden=10, heads=3)


def save(folder: Path, kind: str = "bert", classes: int = 2, **options: Any) -> nn.Module:
    torch.manual_seed(1)
    if kind == "vit":
        config = transformers.ViTConfig(
            **{**CONFIG, "image_size": 16, "patch_size": 8, "num_labels": classes}
        )
        model = transformers.ViTForImageClassification(config)
    elif kind == "gpt2":
        config = transformers.GPT2Config(
            vocab_size=60, n_embd=16, n_layer=1, n_head=2, num_labels=classes, pad_token_id=0
        )
        model = transformers.GPT2ForSequenceClassification(config)
    else:
        model = transformers.BertForSequenceClassification(
            transformers.BertConfig(**CONFIG, num_labels=classes)
        )
    model.save_pretrained(folder, **options)
    return model.eval()


@pytest.mark.parametrize("kind", ["bert", "gpt2"])
def test_a_local_directory(tmp_path: Path, kind: str) -> None:
    theirs, x = save(tmp_path, kind, 3), tokens()
    model = build(f"hf:{tmp_path}", (11,), 3).eval()
    known = x >= 0
    given = {"input_ids": x.clamp_min(0), "attention_mask": known.long()}
    torch.testing.assert_close(model(x), theirs(**given).logits, atol=1e-5, rtol=1e-4)
    assert model.vocabulary == 60
    # another number of classes gets a head of its own, drawn from the seed, and keeps the rest
    one, two = (build(f"hf:{tmp_path}", (11,), 5, seed=s).state_dict() for s in (0, 1))
    assert one["model.score.weight" if kind == "gpt2" else "model.classifier.weight"].shape[0] == 5
    heads = [k for k in one if not torch.equal(one[k], two[k])]
    assert all("classifier" in k or "score" in k for k in heads)
    assert heads


def test_an_image_classifier(tmp_path: Path) -> None:
    theirs = save(tmp_path, "vit")
    x = torch.randn(2, 3, 16, 16)
    model = build(f"hf:{tmp_path}", (3, 16, 16), 2).eval()
    torch.testing.assert_close(model(x), theirs(pixel_values=x).logits)


def test_pickled_weights_and_code_are_not_loaded(tmp_path: Path) -> None:
    model = save(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(InputError, match="pickled weights are not loaded"):
        build(f"hf:{tmp_path}", (11,), 2)
    (tmp_path / "pytorch_model.bin").unlink()
    with pytest.raises(InputError, match=r"no \.safetensors in"):
        build(f"hf:{tmp_path}", (11,), 2)


def test_what_is_no_model_is_told_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(tmp_path)
    (tmp_path / "config.json").write_text("{")
    monkeypatch.setattr(language, "_reachable", lambda: False)
    for name, message in [
        (f"hf:{tmp_path}", "was not loaded"),
        (
            "hf:nobody/no-such-model",
            r"hub cannot be reached; put config\.json and model\.safetensors",
        ),
        ("hf:no such name", "no such directory, and the hub"),
    ]:
        with pytest.raises(InputError, match=message) as caught:
            build(name, (11,), 2)
        assert "\n" not in str(caught.value)


def test_transformers_is_quiet_and_left_as_it_was(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    save(tmp_path)
    level = transformers.logging.get_verbosity()
    capfd.readouterr()
    build(f"hf:{tmp_path}", (11,), 7)
    ended = capfd.readouterr()
    assert ended.out == ended.err == ""
    assert transformers.logging.get_verbosity() == level
