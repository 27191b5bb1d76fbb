from __future__ import annotations

import os
import pickle

import numpy as np
import pytest

from fairsparse.core import InputError
from fairsparse.data.files.arrays import read_pickle

# What Python 2 and numpy 1 wrote for {'data': array of uint8 [[0, 1, 2], [253, 254, 255]]}.
PYTHON_2 = (
    b"\x80\x02}U\x04datacnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b"
    b"\x87R(K\x01K\x02K\x03\x86cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff"
    b"\xffJ\xff\xff\xff\xffK\x00tb\x89U\x06\x00\x01\x02\xfd\xfe\xfftbs."
)


class Reduces:
    def __init__(self, function, *arguments):
        self.how = function, arguments

    def __reduce__(self):
        return self.how


def written(tmp_path, content):
    path = tmp_path / "file"
    path.write_bytes(content if isinstance(content, bytes) else pickle.dumps(content, protocol=2))
    return path


def test_reads_what_python_2_wrote(tmp_path):
    ((key, array),) = read_pickle(written(tmp_path, PYTHON_2)).items()
    assert key == b"data"
    assert array.dtype == np.uint8
    assert array.tolist() == [[0, 1, 2], [253, 254, 255]]


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.float32])
def test_reads_protocol_2_of_this_numpy(tmp_path, dtype):
    array = np.arange(200, 212).astype(dtype).reshape(3, 4)
    content = {b"data": array, "names": [b"a\xff", "b"], b"labels": [1, 2], "t": (1.5, None)}
    read = read_pickle(written(tmp_path, content))
    np.testing.assert_array_equal(read.pop(b"data"), content.pop(b"data"))
    assert read == content


@pytest.mark.parametrize(
    ("function", "arguments", "name"),
    [
        (os.system, ("exit 0",), rf"'{os.system.__module__}\.system'"),
        (eval, ("1",), r"'__builtin__\.eval'"),
        (getattr, (1, "real"), r"'__builtin__\.getattr'"),
        (np.load, ("x",), r"'numpy\.load'"),
    ],
)
def test_refuses_anything_else_and_names_it(tmp_path, function, arguments, name):
    path = written(tmp_path, {"data": Reduces(function, *arguments)})
    with pytest.raises(InputError, match=rf"{path} was not read: it asks for {name}"):
        read_pickle(path)


def test_a_refused_call_does_not_happen(tmp_path):
    trace = tmp_path / "trace"
    with pytest.raises(InputError):
        read_pickle(written(tmp_path, Reduces(os.mkdir, str(trace))))
    assert not trace.exists()


def test_admits_no_codec_but_latin1(tmp_path):
    path = written(
        tmp_path, b"\x80\x02c_codecs\nencode\nX\x02\x00\x00\x00abX\x05\x00\x00\x00rot13\x86R."
    )
    with pytest.raises(InputError, match="text encoded as 'rot13'"):
        read_pickle(path)


@pytest.mark.parametrize("content", [b"", b"no pickle", PYTHON_2[:40]])
def test_damaged_file(tmp_path, content):
    with pytest.raises(InputError, match="is no readable pickle"):
        read_pickle(written(tmp_path, content))
