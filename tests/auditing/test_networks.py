"""Models as they are shipped: each form gives what the network gives, and bad ones one line."""

from __future__ import annotations

import io
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import helper
from safetensors.torch import save_file
from torch import Tensor, nn

from fairsparse.auditing.engine import audit
from fairsparse.auditing.examples import Settings
from fairsparse.auditing.inputs.columns import Columns
from fairsparse.auditing.inputs.examples_of import of_task, read_inputs
from fairsparse.auditing.inputs.join import audit_files, join
from fairsparse.auditing.inputs.networks import Network, scores
from fairsparse.core import InputError, Inputs
from fairsparse.data import DATASETS
from fairsparse.report.explain.pictures import pixels

N = 62  # two more than batches of four and of five hold
MODULE = """
import torch
from torch import nn
from types import SimpleNamespace


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(6, 3)

    def forward(self, x):
        return self.layer(x.flatten(1))


class Words(nn.Module):
    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(9, 3)

    def forward(self, input_ids, attention_mask):
        kept = self.table(input_ids) * attention_mask.unsqueeze(-1)
        return SimpleNamespace(logits=kept.sum(1))


def small():
    torch.manual_seed(1)
    return Small()


def words():
    torch.manual_seed(2)
    return Words()


def rule():
    return lambda x: torch.stack([x[:, 0, 0], x[:, 0, 1]], 1)


def sure():
    return lambda x: torch.tensor([[0.2, 0.7, 0.1]]).expand(len(x), 3)


def number():
    return 7


def needy(size):
    return Small()


def narrow():
    return lambda x: x[:, 0, :1]
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nets_of_a_test.py").write_text(MODULE)
    x = torch.randn(N, 2, 3, generator=torch.Generator().manual_seed(0))
    np.savez("x.npz", x=x.numpy(), y=np.arange(N) % 3, team=np.where(np.arange(N) % 2, "a", "b"))
    yield tmp_path
    sys.modules.pop("nets_of_a_test", None)


@pytest.fixture
def small(here: Path) -> nn.Module:
    sys.path.insert(0, str(here))
    import nets_of_a_test

    sys.path.remove(str(here))
    torch.manual_seed(5)
    made: nn.Module = nets_of_a_test.Small().eval()
    return made


def inputs() -> Tensor:
    with np.load("x.npz") as arrays:
        return torch.from_numpy(arrays["x"])


def batch(rows: np.ndarray) -> Tensor:
    return inputs()[torch.from_numpy(rows)]


def linear_onnx(model: Any, path: str, size: int | str, labels: bool = False) -> None:
    """The small network as an ONNX graph, written by hand, perhaps with labels as well."""
    weights = {k: v.detach().numpy() for k, v in model.state_dict().items()}
    kept = [
        onnx.numpy_helper.from_array(np.ascontiguousarray(weights["layer.weight"].T), "w"),
        onnx.numpy_helper.from_array(weights["layer.bias"], "b"),
    ]
    nodes = [
        helper.make_node("Flatten", ["x"], ["flat"], axis=1),
        helper.make_node("Gemm", ["flat", "w", "b"], ["scores"]),
    ]
    floats = onnx.TensorProto.FLOAT
    outputs = [helper.make_tensor_value_info("scores", floats, [size, 3])]
    if labels:
        nodes.append(helper.make_node("ArgMax", ["scores"], ["label"], axis=1, keepdims=0))
        outputs.insert(0, helper.make_tensor_value_info("label", onnx.TensorProto.INT64, [size]))
    taken = [helper.make_tensor_value_info("x", floats, [size, 2, 3])]
    graph = helper.make_graph(nodes, "g", taken, outputs, kept)
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=9), path)


def exported(model: nn.Module, path: str, size: int | None) -> None:
    dynamic = None if size else ({0: torch.export.Dim("batch")},)
    program = torch.export.export(model, (inputs()[: size or 2],), dynamic_shapes=dynamic)
    torch.export.save(program, path)


def make(model: nn.Module, form: str) -> str:
    match form:
        case "onnx":
            linear_onnx(model, "m.onnx", "n")
        case "onnx of four":
            linear_onnx(model, "m.onnx", 4)
        case "onnx with labels":
            linear_onnx(model, "m.onnx", "n", labels=True)
        case "pt2":
            exported(model, "m.pt2", None)
        case "pt2 of five":
            exported(model, "m.pt2", 5)
        case "safetensors":
            save_file(model.state_dict(), "w.safetensors")
            return "nets_of_a_test:small@w.safetensors"
        case "pt":
            torch.save(model.state_dict(), "w.pt")
            return "nets_of_a_test:Small@w.pt"
    return "m.onnx" if form.startswith("onnx") else "m.pt2"


FORMS = ["onnx", "onnx of four", "onnx with labels", "pt2", "pt2 of five", "safetensors", "pt"]


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_scores_of_the_network(small: nn.Module, form: str) -> None:
    found = scores(make(small, form), N, batch)
    with torch.no_grad():
        expected = small(inputs()).numpy()
    assert found.shape == (N, 3)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_an_audit_of_models_is_that_of_their_predictions(small: nn.Module) -> None:
    path = make(small, "onnx")
    model_inputs = read_inputs("x.npz", Columns())
    quick = Settings(resamples=50, least=5)
    other = "nets_of_a_test:small"
    found = audit_files(other, {"b": path}, settings=quick, inputs=model_inputs)
    with torch.no_grad():
        after = small(inputs()).softmax(1).numpy()
    before = scores(other, N, batch)
    shares = torch.from_numpy(before).softmax(1).numpy()
    with np.load("x.npz") as archive:
        arrays = dict(archive)
    expected = audit(
        shares, {"b": after}, arrays["y"], groups={"team": arrays["team"]},
        class_names=[0, 1, 2], resamples=50, least=5,
    )  # fmt: skip
    for table in ("cells", "measures", "calibration"):
        mine, theirs = getattr(found, table), getattr(expected, table)
        for column in mine.columns:
            if mine[column].dtype.kind == "f":
                np.testing.assert_allclose(mine[column], theirs[column], atol=2e-5)
            else:
                assert mine[column].tolist() == theirs[column].tolist()
    assert len(found.calibration) == 3
    assert [n for n in found.notes if "logits" in n] == [
        f"The scores of {other} were taken for logits.",
        f"The scores of {path} were taken for logits.",
    ]


def test_networks_that_take_several_inputs_take_them_by_name(here: Path) -> None:
    ids = torch.randint(0, 9, (N, 4), generator=torch.Generator().manual_seed(0))
    mask = (torch.arange(4) < 1 + torch.arange(N)[:, None] % 4).long()
    np.savez("texts.npz", input_ids=ids.numpy(), attention_mask=mask.numpy(), y=np.arange(N) % 3)
    model_inputs = read_inputs("texts.npz", Columns())
    found = scores("nets_of_a_test:words", N, model_inputs.batch)
    import nets_of_a_test

    model = nets_of_a_test.words().eval()
    with torch.no_grad():
        expected = model(ids, mask).logits.numpy()
    np.testing.assert_allclose(found, expected, atol=1e-6)

    class Plain(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = model

        def forward(self, given: dict[str, Tensor]) -> Tensor:
            found: Tensor = self.inner(**given).logits
            return found

    both = {"input_ids": ids[:3], "attention_mask": mask[:3]}
    torch.export.save(torch.export.export(Plain(), (both,)), "words.pt2")
    np.testing.assert_allclose(scores("words.pt2", N, model_inputs.batch), expected, atol=1e-6)


def test_any_function_of_a_batch_is_a_model(here: Path) -> None:
    found = scores("nets_of_a_test:rule", N, batch)
    np.testing.assert_allclose(found, inputs()[:, 0, :2].numpy())


def test_a_task_gives_its_test_split_as_networks_take_it() -> None:
    task = DATASETS["digits"]()
    model_inputs = of_task(task)
    assert model_inputs.about.n == len(task.test)
    rows = np.array([0, 3, 1])
    x = model_inputs.batch(rows)
    assert isinstance(x, Tensor)
    torch.testing.assert_close(x, task.test.batch(torch.from_numpy(rows)).x)
    assert model_inputs.about.truth is not None
    assert model_inputs.about.truth.codes.tolist() == task.test.y.tolist()
    assert model_inputs.about.classes == task.class_names
    assert model_inputs.show is not None
    picture = model_inputs.show(3)
    assert isinstance(picture, np.ndarray)
    assert picture.dtype == np.uint8
    assert picture.shape[2] == 3


def test_pixels_are_stretched_only_where_they_are_not_bytes() -> None:
    grey = torch.tensor([[[3, 200]]], dtype=torch.uint8)
    assert pixels(grey).tolist() == [[[3] * 3, [200] * 3]]
    assert pixels(torch.tensor([[[-1.0, 0.0, 1.0]]])).tolist() == [[[0] * 3, [128] * 3, [255] * 3]]
    few = torch.tensor([[[4, 16]]], dtype=torch.uint8)  # levels from 0 to 16
    assert pixels(few).tolist() == [[[64] * 3, [255] * 3]]


def test_probabilities_are_taken_as_they_are(here: Path) -> None:
    model_inputs = read_inputs("x.npz", Columns())
    joined = join({"reference": "nets_of_a_test:sure"}, inputs=model_inputs)
    assert joined.notes == ("Rows were matched by their order, as files have no ids.",)
    assert joined.confidence["reference"].tolist() == pytest.approx([0.7] * N)


class Trap:
    """What a pickle could hold."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (open, ("sprung", "w"))


def test_no_form_unpickles_anything(small: nn.Module) -> None:
    torch.save({"layer.weight": Trap()}, "w.pt")
    with pytest.raises(InputError, match="no weights of Small"):
        scores("nets_of_a_test:small@w.pt", N, batch)
    exported(small, "m.pt2", None)
    buffer = io.BytesIO()
    torch.save({"x": Trap()}, buffer)
    with zipfile.ZipFile("m.pt2") as old, zipfile.ZipFile("evil.pt2", "w") as new:
        for item in old.infolist():
            # each file of tensors, whatever it is for, is replaced by a pickle of something else
            tensors = item.filename.endswith(".pt")
            kept = item.filename.removeprefix("m/")
            new.writestr(f"evil/{kept}", buffer.getvalue() if tensors else old.read(item))
        assert any(item.filename.endswith(".pt") for item in old.infolist())
    with pytest.raises(InputError, match="not a program of tensors alone"):
        scores("evil.pt2", N, batch)
    assert not Path("sprung").exists()


BAD = {
    "gone.onnx": "gone.onnx: no such file",
    "gone.pt2": "gone.pt2: no such file",
    "damaged.onnx": "damaged.onnx: cannot be read",
    "damaged.pt2": "damaged.pt2: not a program of tensors alone",
    "no_such_module_here:make": "cannot be imported (No module named 'no_such_module_here')",
    "nets_of_a_test:big": "cannot be imported",
    "nets_of_a_test:needy": "must be a function without arguments",
    "nets_of_a_test:number": "returns int; a network, or a function",
    "nets_of_a_test:narrow": "gave (62, 1) for 62 examples; one score for each class",
    "nets_of_a_test:words": "fails on inputs of shape x (62, 2, 3): TypeError",
    "nets_of_a_test:small@w.bin": "w.bin: weights are read from .safetensors, .pt or .pth",
    "nets_of_a_test:small@gone.pt": "gone.pt: no such file",
    "nets_of_a_test:rule@other.safetensors": "weights are for a torch network",
    "nets_of_a_test:small@other.safetensors": "no weights of Small",
}


@pytest.mark.parametrize("path", list(BAD))
def test_what_cannot_be_used_is_told_in_one_line(here: Path, path: str) -> None:
    save_file({"other": torch.zeros(2)}, "other.safetensors")
    for name in ("damaged.onnx", "damaged.pt2"):
        Path(name).write_bytes(b"PK\x03\x04 not really")
    with pytest.raises(InputError) as told:
        scores(path, N, batch)
    assert BAD[path] in str(told.value)
    assert "\n" not in str(told.value)


def test_models_need_inputs_that_fit(small: nn.Module) -> None:
    path = make(small, "onnx")
    with pytest.raises(InputError, match="models need examples to run on; give --inputs"):
        join({"reference": path})
    two: Inputs = {"a": inputs()[:2], "b": inputs()[:2]}
    with pytest.raises(InputError, match=r"takes the inputs x; given are a, b; name the arrays"):
        Network(path, two)
    model_inputs = read_inputs("x.npz", Columns())
    with pytest.raises(InputError, match=r"gives 3 scores an example for 2 classes \(p, q\)"):
        join({"reference": path}, inputs=model_inputs, class_names=["p", "q"])
    np.savez("flat.npz", y=np.arange(3))
    with pytest.raises(InputError, match="holds no inputs, arrays of two or more dimensions"):
        read_inputs("flat.npz", Columns())
    np.savez("short.npz", x=np.zeros((4, 2)), y=np.arange(3))
    with pytest.raises(InputError, match=r"arrays must be of one length; got \[3, 4\]"):
        read_inputs("short.npz", Columns())
    np.savez("text.npz", x=np.array([["a", "b"]]))
    with pytest.raises(InputError, match="inputs must be numbers"):
        read_inputs("text.npz", Columns())
    np.savez("nan.npz", x=np.full((N, 2, 3), np.nan, np.float32), y=np.arange(N) % 3)
    with pytest.raises(InputError, match="scores are not a number, first for example 1"):
        join({"reference": path}, inputs=read_inputs("nan.npz", Columns()))


def test_a_missing_runtime_is_named(small: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make(small, "onnx")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(InputError, match=r"pip install 'fairsparse\[onnx\]'"):
        scores(path, N, batch)


def test_outputs_with_logits_are_taken(here: Path) -> None:
    network = Network("nets_of_a_test:small", inputs()[:2])
    for output in (SimpleNamespace(logits=torch.eye(3)), {"logits": torch.eye(3)}, (torch.eye(3),)):
        np.testing.assert_allclose(network._scores(output, 3), np.eye(3))
