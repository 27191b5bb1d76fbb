"""Programs of torch.export: real ones are read, and no text of one is run before it was checked."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fairsparse.auditing.inputs.exported import check_exported, expression
from fairsparse.auditing.inputs.networks import Network
from fairsparse.core import InputError

CALL = "__import__('pathlib').Path('sprung').touch()"


class Attending(nn.Module):
    """Convolution, norm, attention, a guard on a size, two inputs by name, nested outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.last = nn.Linear(4, 3)

    def forward(self, x: Tensor, mask: Tensor) -> dict[str, Tensor]:
        torch._check(x.shape[0] * 2 == mask.shape[0])
        if x.shape[0] % 2 == 0:
            x = x * 2
        y = self.norm(self.conv(x)).relu().flatten(2).transpose(1, 2)
        y = nn.functional.scaled_dot_product_attention(y, y, y).pow(2)
        y = nn.functional.gelu(y, approximate="tanh") + torch.einsum("bnd->bd", y)[:, None]
        kept = mask[: x.shape[0], None] & (y.mean(1) > 0)
        with torch.no_grad():
            scale = y.abs().amax()
        return {"the logits": self.last(y.mean(1)) * scale, "kept": kept}


@pytest.fixture
def real(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    example = (torch.randn(4, 1, 4, 4),), {"mask": torch.ones(8, dtype=torch.bool)}
    auto = torch.export.Dim.AUTO
    program = torch.export.export(
        Attending().eval(), *example, dynamic_shapes={"x": {0: auto}, "mask": {0: auto}}
    )
    torch.export.save(program, "m.pt2")
    return "m.pt2"


def rewritten(path: str, change: Callable[[dict[str, Any]], Any], **parts: bytes) -> str:
    """The archive with another description of its program, and with more parts."""
    with zipfile.ZipFile(path) as old, zipfile.ZipFile("evil.pt2", "w") as new:
        for item in old.infolist():
            content = old.read(item)
            if item.filename.endswith("models/model.json"):
                described = json.loads(content)
                change(described)
                content = json.dumps(described).encode()
            new.writestr(item.filename, content)
        for name, content in parts.items():
            new.writestr(f"m/{name}", content)
    return "evil.pt2"


def test_real_programs_are_read(real: str) -> None:
    check_exported(real)
    check_exported(rewritten(real, lambda described: None))
    with zipfile.ZipFile(real) as archive:
        described = json.loads(archive.read("m/models/model.json"))
    # else the guards, shapes and keys of other tests here would be no real ones
    assert len(described["guards_code"]) == 2
    assert "expr_str" in json.dumps(described["graph_module"]["graph"])


def graph(described: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = described["graph_module"]["graph"]
    return found


def shape(described: dict[str, Any]) -> None:
    graph(described)["tensor_values"]["x"]["sizes"][0]["as_expr"]["expr_str"] = CALL


def shape_in_metadata(described: dict[str, Any]) -> None:
    graph(described)["sym_int_values"]["metadata"] = {"as_expr": {"expr_str": CALL, "hint": None}}


def range_of(described: dict[str, Any]) -> None:
    described["range_constraints"][CALL] = {"min_val": 0, "max_val": 9}


def guard(described: dict[str, Any]) -> None:
    described["guards_code"].append(CALL)


def operator(target: str) -> Callable[[dict[str, Any]], None]:
    def change(described: dict[str, Any]) -> None:
        graph(described)["nodes"][-1]["target"] = target

    return change


def keyword(described: dict[str, Any]) -> None:
    graph(described)["nodes"][-1]["inputs"][0]["name"] = f"x={CALL}, y"


def node_name(described: dict[str, Any]) -> None:
    graph(described)["nodes"][-1]["name"] = f"x\n    {CALL}"


def parameter(described: dict[str, Any]) -> None:
    first = described["graph_module"]["signature"]["input_specs"][0]
    first["parameter"]["parameter_name"] = f'a", {CALL}) #'


def argument(described: dict[str, Any]) -> None:
    signature = described["graph_module"]["module_call_graph"][0]["signature"]
    signature["forward_arg_names"][0] = f"x={CALL}"


def tree(context: Any) -> Callable[[dict[str, Any]], None]:
    def change(described: dict[str, Any]) -> None:
        signature = described["graph_module"]["module_call_graph"][0]["signature"]
        spec = json.loads(signature["in_spec"])
        spec[1]["children_spec"][1]["context"] = json.dumps(context)
        signature["in_spec"] = json.dumps(spec)

    return change


def objects(described: dict[str, Any]) -> None:
    graph(described)["custom_obj_values"] = {"o": {"name": "o", "class_fqn": "os.system"}}


EVIL = {
    "a shape": (shape, 'has the expression "__import__'),
    "a shape called metadata": (shape_in_metadata, "has the expression"),
    "a range": (range_of, "has the expression"),
    "a guard": (guard, "has the expression"),
    "a function of torch": (operator("torch.os.system"), "calls 'torch.os.system'"),
    "torch.load": (operator("torch.load"), "calls 'torch.load'"),
    "an operator that writes": (operator("torch.ops.aten.save.default"), "calls"),
    "an operator that maps": (operator("torch.ops.aten.from_file.default"), "calls"),
    "a kernel": (operator("torch.ops.higher_order.triton_kernel_wrapper_mutation"), "calls"),
    "a library": (operator("torch.ops.load_library"), "calls"),
    "an extension": (operator("#mine:op"), "calls"),
    "inner names": (operator("torch.ops.aten.__init__.__call__"), "calls"),
    "a keyword": (keyword, "has the name"),
    "a node": (node_name, "has the name"),
    "a parameter": (parameter, "has the name"),
    "an argument": (argument, "has the name"),
    "a key": (tree([f"y': {CALL}, 'z"]), "not plain containers"),
    "an enum": (tree({"__enum__": True, "fqn": "mine:E.a", "name": "a"}), "not plain containers"),
    "an object": (objects, "holds objects"),
}


@pytest.mark.parametrize("kind", list(EVIL))
def test_texts_that_torch_would_run_are_refused(real: str, kind: str) -> None:
    change, words = EVIL[kind]
    evil = rewritten(real, change)
    x = {"x": torch.randn(4, 1, 4, 4), "mask": torch.ones(8, dtype=torch.bool)}
    with pytest.raises(InputError, match="not a program of tensors alone") as told:
        Network(evil, x)(x)
    assert words in str(told.value)
    assert "\n" not in str(told.value)
    assert not Path("sprung").exists()


@pytest.mark.parametrize(
    "part",
    [
        "data/constants/opaque_obj_0",  # unpickled by torch
        "data/constants/custom_obj_0",
        "data/aotinductor/model/model.so",  # loaded as machine code
        "models/other.json",
        "version",  # takes another, older way through torch
    ],
)
def test_other_parts_of_an_archive_are_refused(real: str, part: str) -> None:
    with pytest.raises(InputError, match=f"it has the part 'm/{part}'"):
        check_exported(rewritten(real, lambda described: None, **{part: b"x"}))


def test_what_two_readers_see_differently_is_refused(real: str) -> None:
    twice = rewritten(real, lambda described: None)
    content = json.dumps({"graph_module": CALL}).encode()
    with pytest.warns(UserWarning, match="Duplicate name"), zipfile.ZipFile(twice, "a") as archive:
        archive.writestr("m/models/model.json", content)
    with pytest.raises(InputError):
        check_exported(twice)
    packed = rewritten(real, lambda described: None)
    with zipfile.ZipFile(packed, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("m/extra/big", b"0" * 10_000_000)
    with pytest.raises(InputError, match="it has the part 'm/extra/big'"):
        check_exported(packed)


@pytest.mark.parametrize(
    "text",
    [
        "Pow(Symbol('s0', positive=True, integer=True), Integer(-1))",
        "Max(Integer(1), FloorDiv(Symbol('u0', integer=True), Integer(2)))",
        "Not(Equality(Symbol('s0'), Integer(3)))",
        "-s77 * 2 + 1",
        "L['x'].stride()[1] % 4 == 0",
        "true",
    ],
)
def test_arithmetic_is_an_expression(text: str) -> None:
    expression(text)


@pytest.mark.parametrize(
    "text",
    [
        CALL,
        "Symbol('x').__class__",
        "().__class__.__bases__[0]",
        "L['x'].__class__",
        "L['x'].size().__len__",
        "L[__import__('os')]",
        "Symbol(**x)",
        "Symbol(*x)",
        "Symbol('a\\nb')",
        "lambda: 1",
        "[x for x in y]",
        "f'{x}'",
        "(x := 1)",
        "eval('1')",
        "9**9**9",
        "Pow(Integer(9), Integer(999999999))",
        "Pow(Pow(Integer(9), Integer(64)), Integer(64))",
        "LShift(Integer(1), Integer(999999999))",
        "Integer(" + "9" * 400 + ")",
        "(" * 300 + ")" * 300,
        "1+" * 20_000 + "1",
        "x; y",
        "x\ny",
    ],
)
def test_what_is_no_arithmetic_is_none(text: str) -> None:
    with pytest.raises(InputError, match="it has the expression"):
        expression(text)
