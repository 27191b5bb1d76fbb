"""What a file of ``torch.export`` may say before torch reads it.

torch evaluates shapes, runs guards, writes names into a program that it compiles, looks operators
up by name, and imports what trees of inputs are made of. So each text of the file has to be of a
short grammar: arithmetic of symbols, plain words, operators on tensors. What torch would unpickle
or load as machine code is not in the archive at all.
"""

from __future__ import annotations

import ast
import json
import re
import zipfile
from collections.abc import Callable
from typing import Any

import torch

from fairsparse.core import InputError

_RECORDS = re.compile(
    r"archive_format|archive_version|byteorder|\.format_version|\.storage_alignment"
    r"|\.data/(version|serialization_id)|models/model\.json|data/sample_inputs/model\.pt"
    r"|data/weights/(weight_\d+|model_weights_config\.json)"
    r"|data/constants/(tensor_\d+|model_constants_config\.json)|extra/[\w./-]+",
    re.ASCII,
)
_WORD = re.compile(r"[\w.@+-]*", re.ASCII)  # nothing that could call, index or end a line
_KEY = re.compile(r"[\w.@+ -]*", re.ASCII)
_OPERATOR = re.compile(
    # of these, two write files, and of names between underscores few are operators
    r"torch\.ops\.aten\.(?!(save|from_file)\b)(?!__)\w+\.\w+"
    r"|torch\.ops\.aten\.__i?(and|or|xor|lshift|rshift)__\.\w+"
    r"|torch\.ops\.(prims|quantized|quantized_decomposed|torchvision)\.(?!__)\w+\.\w+"
    r"|torch\.ops\.higher_order\.(wrap_with_(set_grad_enabled|autocast)|cond|scan|while_loop)"
    r"|_operator\.(add|sub|mul|truediv|floordiv|mod|pow|neg|pos|abs|getitem|eq|ne|lt|le|gt|ge|and_"
    r"|or_|not_)|math\.(ceil|floor|trunc|sqrt)|torch\.(_?sym_\w+)",
    re.ASCII,
)
_POWERS = {"Pow", "PowByNatural", "FloatPow", "LShift", "RShift"}
_FUNCTIONS = _POWERS | {
    *("Symbol", "Integer", "Float", "Rational", "Add", "Mul", "Max", "Min", "Mod", "PythonMod"),
    *("FloorDiv", "CleanDiv", "CeilDiv", "IntTrueDiv", "FloatTrueDiv", "ModularIndexing", "Where"),
    *("CeilToInt", "FloorToInt", "TruncToInt", "TruncToFloat", "RoundToInt", "RoundDecimal"),
    *("ToFloat", "Identity", "Abs", "And", "Or", "Not", "Equality", "Unequality", "StrictLessThan"),
    *("LessThan", "StrictGreaterThan", "GreaterThan", "IsNonOverlappingAndDenseIndicator"),
}
_PLAIN = (
    *(ast.Expression, ast.Name, ast.Load, ast.BinOp, ast.UnaryOp, ast.BoolOp, ast.Compare),
    *(ast.Add, ast.Sub, ast.Mult, ast.Div, ast.FloorDiv, ast.Mod, ast.USub, ast.UAdd, ast.Not),
    *(ast.And, ast.Or, ast.Eq, ast.NotEq, ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.keyword),
)
_LONGEST = 10_000  # letters of an expression


def check_exported(path: str) -> None:
    """Raise `InputError` unless all texts of a file of ``torch.export`` are of the grammar.

    A file that is damaged, or is not stored as ``torch.export.save`` stores it, is refused alike.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
        records = [entry.filename.partition("/")[2] for entry in entries]
        odd = [
            entry.filename
            for entry, record in zip(entries, records, strict=True)
            if entry.compress_type != zipfile.ZIP_STORED or not _RECORDS.fullmatch(record)
        ]
        if odd:
            raise InputError(f"it has the part {odd[0]!r}")
        # what torch itself finds in the file, whichever way it reads the archive
        reader = torch._C.PyTorchFileReader(path)
        if sorted(reader.get_all_records()) != sorted(set(records)):
            raise InputError("its table of contents is ambiguous")
        _check(json.loads(reader.get_record("models/model.json")), "")
    except InputError as error:
        raise InputError(
            f"{path}: not a program of tensors alone ({error}); save it with torch.export.save of"
            " torch 2.8 or later, and give models of other parts as module:factory"
        ) from None
    except Exception as error:  # of many kinds, for files that are damaged or hold other things
        raise InputError(
            f"{path}: not a program of tensors alone ({' '.join(str(error).split())[:200]}); save"
            " it with torch.export.save"
        ) from None


def _check(value: Any, key: str) -> None:
    """Check all texts below `key` of the description of a program."""
    if isinstance(value, dict):
        for name, inner in value.items():
            (expression if key == "range_constraints" else _word)(name)
            if name == "custom_obj_values" and inner:
                raise InputError("it holds objects")
            if name == "metadata" and all(isinstance(text, str) for text in inner.values()):
                continue  # where an operator came from: told to people, and never evaluated
            _check(inner, name)
    elif isinstance(value, list):
        for inner in value:
            _check(inner, key)
    elif isinstance(value, str):
        _RULES.get(key, _word)(value)


def expression(text: str) -> None:
    """Raise `InputError` unless `text` is arithmetic of symbols and of sizes of inputs.

    >>> expression("Mul(Integer(2), Symbol('s7', positive=True))")
    >>> expression("(2*L['x'].size()[0]) == L['y'].size()[0]")
    >>> expression("__import__('os').system('true')")
    Traceback (most recent call last):
    fairsparse.core.InputError: it has the expression "__import__('os').system('true')"
    """
    try:
        fits = len(text) <= _LONGEST and all(map(_plain, ast.walk(ast.parse(text, mode="eval"))))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        fits = False
    if not fits:
        raise InputError(f"it has the expression {text[:80]!r}")


def _plain(node: ast.AST) -> bool:
    match node:
        case ast.Call(ast.Name(name), arguments):
            return name in _FUNCTIONS and (name not in _POWERS or _small(arguments))
        case ast.Call(ast.Attribute(ast.Subscript(ast.Name("L")), attr), [], []):
            return attr in ("size", "stride", "storage_offset")
        case ast.Attribute(ast.Subscript(ast.Name("L")), "size" | "stride" | "storage_offset"):
            return True
        case ast.Subscript(ast.Name("L"), ast.Constant()):
            return True
        case ast.Subscript(ast.Call(), ast.Constant(int())):
            return True
        case ast.keyword(None):
            return False
        case ast.Constant(str(word)):
            return _KEY.fullmatch(word) is not None
        case ast.Constant(value):
            return isinstance(value, (int, float)) and abs(value) < 2**64
    return isinstance(node, _PLAIN)


def _small(arguments: list[ast.expr]) -> bool:
    """Whether a power can be written out: no high one, and no power of a power."""
    below, above = map(ast.unparse, arguments) if len(arguments) == 2 else ("", "")
    flat = not any(f"{name}(" in below for name in _POWERS)
    return flat and re.fullmatch(r"(Integer\()?-?\d\d?\)?", above) is not None


def _word(text: str) -> None:
    if not _WORD.fullmatch(text):
        raise InputError(f"it has the name {text[:80]!r}")


def _operator(text: str) -> None:
    if not _OPERATOR.fullmatch(text):
        raise InputError(f"it calls {text[:80]!r}")


def _tree(text: str) -> None:
    """How inputs and outputs are nested: containers with plain keys."""

    def check(spec: Any) -> None:
        keys = json.loads(spec["context"] or "null") or []
        plain = isinstance(keys, list) and all(
            isinstance(k, int) or _KEY.fullmatch(str(k)) for k in keys
        )
        if not plain:
            raise InputError("its inputs are not plain containers")
        for child in spec["children_spec"]:
            check(child)

    if text:
        check(json.loads(text)[1])


_RULES: dict[str, Callable[[str], None]] = {
    "expr_str": expression,
    "guards_code": expression,
    "target": _operator,
    "as_operator": _operator,
    "in_spec": _tree,
    "out_spec": _tree,
    "as_string": lambda text: None,  # written with repr wherever it is written
    "as_strings": lambda text: None,
}
