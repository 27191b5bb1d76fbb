from __future__ import annotations

import gzip

import pytest
import torch

from fairsparse.core import InputError
from fairsparse.data import DATASETS
from fairsparse.data.task import SPLITS

adult = DATASETS["adult"]


def adult_row(i, dot=""):
    sex, race = ("Male", "Female")[i % 2], ("White", "Black")[i // 2 % 2]
    income = (">50K", "<=50K")[i // 4 % 2]
    work = "?" if i % 5 == 0 else "Private"
    return (
        f"{20 + i % 40}, {work}, {1000 + i}, HS-grad, 9, Divorced, Sales, Unmarried, {race}, {sex},"
        f" 0, 0, {30 + i % 7}, United-States, {income}{dot}\n"
    )


def write_adult(folder, train=80, test=16, compress=False):
    folder.mkdir(parents=True, exist_ok=True)
    texts = {
        "adult.data": "".join(adult_row(i) for i in range(train)) + "\n",
        "adult.test": "|1x3 Cross validator\n"
        + "".join(adult_row(i, ".") for i in range(test))
        + "\n",
    }
    for name, text in texts.items():
        if compress:
            (folder / f"{name}.gz").write_bytes(gzip.compress(text.encode()))
        else:
            (folder / name).write_text(text)
    return folder


@pytest.mark.parametrize(("where", "compress"), [("", False), ("adult", False), ("", True)])
def test_adult(tmp_path, where, compress):
    write_adult(tmp_path / where, compress=compress)
    task = adult(tmp_path)
    assert [len(getattr(task, s)) for s in SPLITS] == [64, 8, 8, 16]
    assert task.class_names == ("<=50K", ">50K")
    assert task.group_names == ("Female", "Male")
    assert task.test.y.tolist() == [int(i // 4 % 2 == 0) for i in range(16)]
    assert task.test.group.tolist() == [int(i % 2 == 0) for i in range(16)]
    # 5 numbers; workclass has 2 categories ('?' is one), race 2, sex 2, five columns have 1.
    assert task.input_shape == (16,)
    x = task.train.x
    assert x.dtype == torch.float32
    torch.testing.assert_close(x[:, [0, 4]].mean(0), torch.zeros(2), atol=1e-5, rtol=0)
    torch.testing.assert_close(x[:, [0, 4]].std(0, correction=0), torch.ones(2))
    assert set(x[:, 5:].unique().tolist()) == {0.0, 1.0}


def test_adult_groups_and_features(tmp_path):
    write_adult(tmp_path)
    task = adult(tmp_path, groups=("sex", "race"), drop_sensitive=True)
    assert task.group_names == ("Female x Black", "Female x White", "Male x Black", "Male x White")
    assert task.attributes == ("sex", "race")
    assert task.input_shape == (16 - 4,)
    assert adult(tmp_path, drop_sensitive=True).input_shape == (16 - 2,)


def test_adult_constants_come_from_the_train_split(tmp_path):
    write_adult(tmp_path)
    before = adult(tmp_path)
    text = (tmp_path / "adult.test").read_text().replace("Private", "Never-seen")
    (tmp_path / "adult.test").write_text(text)
    after = adult(tmp_path)
    assert torch.equal(before.train.x, after.train.x)
    changed = before.test.x != after.test.x
    # A category unseen in training is no category at all, so only the one for Private changes.
    assert changed.any(0).nonzero().numel() == 1
    assert (after.test.x[changed] == 0).all()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1, 2, 3\n", "has 3 columns; the official file has 15"),
        (adult_row(0, "!"), "the income '>50K!'"),
        (adult_row(0).replace("20,", "old,"), "column 'age' is numeric but has 'old' in row 1"),
        (adult_row(0) + "1, 2\n", "the income"),
        (adult_row(0) + adult_row(1).replace("Sales", "Sales, x"), "no readable Adult file"),
    ],
)
def test_adult_bad_content(tmp_path, text, message):
    write_adult(tmp_path)
    (tmp_path / "adult.data").write_text(text)
    with pytest.raises(InputError, match=message):
        adult(tmp_path)


def test_adult_missing_file(tmp_path):
    with pytest.raises(InputError, match=r"expected the official files adult\.data, adult\.test"):
        adult(tmp_path)
