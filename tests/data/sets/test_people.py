"""Published tables about people, from small files in exactly their layouts."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
import torch

from fairsparse.core import InputError
from fairsparse.data import DATASETS
from fairsparse.data.task import SPLITS, Task

# two columns are named twice, and score_text is the text N/A where there is none
COMPAS_HEADER = (
    "id,compas_screening_date,sex,age,age_cat,race,juv_fel_count,decile_score,juv_misd_count,"
    "juv_other_count,priors_count,days_b_screening_arrest,c_charge_degree,is_recid,decile_score,"
    "score_text,priors_count,two_year_recid"
)


def compas_row(
    i: int, days: str = "-1", known: int = 0, degree: str = "F", text: str = "Low"
) -> str:
    race = ("African-American", "Caucasian", "Hispanic", "Other")[i % 4]
    sex, again = ("Male", "Female")[i // 4 % 2], i // 8 % 2
    return (
        f"{i},2013-08-14,{sex},{20 + i % 50},25 - 45,{race},0,{i % 10},0,0,{i % 7},{days},{degree},"
        f"{known},{i % 10},{text},{i % 7},{again}"
    )


def write_compas(folder: Path, name: str = "compas-scores-two-years.csv") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    kept = [compas_row(i) for i in range(160)]
    out = [
        compas_row(0, days="31"),
        compas_row(1, days="-31"),
        compas_row(2, days=""),
        compas_row(3, known=-1),
        compas_row(4, degree="O"),
        compas_row(5, text="N/A"),
    ]
    edge = [compas_row(i, days=d).replace("Other", "Asian") for i, d in ((3, "30"), (7, "-30"))]
    (folder / name).write_text("\r\n".join([COMPAS_HEADER, *out, *kept, *edge]) + "\r\n")
    return folder


def everyone(task: Task) -> int:
    return sum(len(getattr(task, s)) for s in SPLITS)


def people(task: Task) -> dict[tuple[str, str], int]:
    """How many examples each class has in each group."""
    counts: dict[tuple[str, str], int] = {}
    for split in SPLITS:
        part = getattr(task, split)
        for y, g in zip(part.y.tolist(), part.group.tolist(), strict=True):
            key = task.class_names[y], task.group_names[g] if g >= 0 else "unknown"
            counts[key] = counts.get(key, 0) + 1
    return counts


@pytest.mark.parametrize("where", ["", "compas"])
@pytest.mark.parametrize(
    "file", ["compas-scores-two-years.csv", "compas-two-years-deidentified.csv"]
)
def test_compas_keeps_the_rows_of_the_published_analysis(
    tmp_path: Path, where: str, file: str
) -> None:
    write_compas(tmp_path / where, file)
    task = DATASETS["compas"](tmp_path)
    assert everyone(task) == 162
    assert task.class_names == ("no", "yes")
    assert task.group_names == ("African-American", "Caucasian", "Hispanic", "Other")
    # rows 3 and 7 of the edge are arrested again no time, and Asian: counted as Other
    assert people(task)["no", "Other"] == 20 + 2
    # age and four counts, sex, race, charge degree F alone
    assert task.input_shape == (5 + 2 + 4 + 1,)
    assert "arrest is not an offence" in task.notes


def test_compas_apart_and_without_the_attribute(tmp_path: Path) -> None:
    write_compas(tmp_path, "compas-two-years-deidentified.csv")
    path = tmp_path / "compas-two-years-deidentified.csv"
    task = DATASETS["compas"](path, groups=("race", "sex"), drop_sensitive=True)
    assert task.group_names[:2] == ("African-American x Female", "African-American x Male")
    assert task.input_shape == (5 + 1,)
    # too few to be in every split, which is refused with their name
    with pytest.raises(InputError, match="Asian"):
        DATASETS["compas"](path, merge_few=False)


def test_law_school(tmp_path: Path) -> None:
    header = "decile1b,decile3,lsat,ugpa,zfygpa,zgpa,fulltime,fam_inc,male,tier,race,pass_bar\n"
    rows = [
        f"{i % 10}.0,1.0,{20 + i % 20}.5,3.1,-0.2,0.4,1.0,4.0,{i % 2}.0,3.0,"
        f"{('White', 'Non-White')[i // 2 % 2]},{i // 4 % 2}.0\n"
        for i in range(120)
    ]
    (tmp_path / "law_school_clean.csv.gz").write_bytes(
        gzip.compress((header + "".join(rows)).encode())
    )
    task = DATASETS["law-school"](tmp_path, groups=("race", "sex"))
    assert task.class_names == ("failed", "passed")
    assert task.group_names[0] == "Non-White x female"
    assert people(task)["passed", "White x male"] == 15
    assert task.input_shape == (9 + 2 + 2,)
    assert DATASETS["law-school"](tmp_path, drop_sensitive=True).input_shape == (9 + 2,)


def test_dutch_census_codes_are_categories(tmp_path: Path) -> None:
    header = (
        "sex,age,household_position,household_size,prev_residence_place,citizenship,country_birth,"
        "edu_level,economic_status,cur_eco_activity,marital_status,occupation\n"
    )
    rows = [
        f"{('male', 'female')[i % 2]},{4 + i % 12},{(1131, 1122, 1110)[i % 3]},112,1,1,1,{i % 6},"
        f"111,{(135, 122)[i // 3 % 2]},1,{i // 2 % 2}\n"
        for i in range(120)
    ]
    (tmp_path / "dutch.csv").write_text(header + "".join(rows))
    task = DATASETS["dutch-census"](tmp_path)
    assert (task.class_names, task.group_names) == (("low", "high"), ("female", "male"))
    assert people(task) == {(c, g): 30 for c in ("low", "high") for g in ("female", "male")}
    # age and education are numbers; positions have 3 categories, activities 2, six columns have 1
    assert task.input_shape == (2 + 2 + 3 + 2 + 6,)
    assert DATASETS["dutch-census"](tmp_path, drop_sensitive=True).input_shape == (13,)


def write_credit(folder: Path, target: str, sex: str = "{}") -> None:
    header = f"ID,LIMIT_BAL,SEX,EDUCATION,MARRIAGE,AGE,PAY_0,BILL_AMT1,PAY_AMT1,{target}\n"
    rows = [
        f"{i},20000,{sex.format(1 + i % 2)},{i // 4 % 5},{i // 2 % 2 + 1},{21 + i % 40},"
        f"{i % 3 - 1},{100 * i},0,{i // 20 % 2}\n"
        for i in range(240)
    ]
    (folder / "credit-card-clients.csv").write_text(header + "".join(rows))


@pytest.mark.parametrize("target", ["default payment", "default payment next month"])
def test_credit_default_leaves_out_the_id_and_what_no_codebook_explains(
    tmp_path: Path, target: str
) -> None:
    write_credit(tmp_path, target)
    task = DATASETS["credit-default"](tmp_path, groups=("education",))
    assert task.class_names == ("paid", "default")
    # codes 0 and 4 are unknown; each code has a fifth of 240
    assert task.group_names == ("graduate school", "high school", "university")
    assert sum(n for (_, g), n in people(task).items() if g == "unknown") == 96
    # five numbers; sex 2, education 5, marriage 2 categories
    assert task.input_shape == (5 + 2 + 5 + 2,)
    dropped = DATASETS["credit-default"](tmp_path, groups=("sex", "marriage"), drop_sensitive=True)
    assert dropped.group_names == (
        *("male x married", "male x single", "female x married", "female x single"),
    )
    assert dropped.input_shape == (5 + 5,)


def test_german_credit(tmp_path: Path) -> None:
    header = "checking-account,duration,age,foreign-worker,sex,class-label\n"
    rows = [
        f"{('<0 DM', 'none')[i % 2]},{i % 40},{20 + i % 30},{('yes', 'no')[int(i % 10 == 0)]},"
        f"{('male', 'female')[i // 2 % 2]},{int(i % 3 > 0)}\n"
        for i in range(240)
    ]
    (tmp_path / "german_data_credit.csv").write_text(header + "".join(rows))
    task = DATASETS["german-credit"](tmp_path, groups=("sex", "foreign-worker"))
    assert task.class_names == ("bad", "good")
    assert task.attributes == ("sex", "foreign-worker")
    assert len(task.test) >= 0.25 * 240
    assert task.input_shape == (2 + 2 + 2 + 2,)


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("compas", "compas-scores-two-years.csv"),
        ("law-school", "law_school_clean.csv"),
        ("dutch-census", "dutch.csv"),
        ("credit-default", "credit-card-clients.csv"),
        ("german-credit", "german_data_credit.csv"),
    ],
)
def test_what_is_missing_is_named(tmp_path: Path, name: str, file: str) -> None:
    with pytest.raises(InputError, match=f"{name}: expected the official files {file}.*set path"):
        DATASETS[name](tmp_path)
    (tmp_path / file).write_text("one,two\n1,2\n")
    with pytest.raises(InputError, match=f"{name}: the table has no column") as caught:
        DATASETS[name](tmp_path)
    assert "\n" not in str(caught.value)


def test_a_code_that_has_no_meaning_is_refused_with_its_row(tmp_path: Path) -> None:
    write_credit(tmp_path, "default payment", sex="{}7")
    with pytest.raises(InputError, match="column 'sex' has 17 in row 1; allowed are 1, 2"):
        DATASETS["credit-default"](tmp_path)


def test_limits_and_seeds_reach_the_splits(tmp_path: Path) -> None:
    write_compas(tmp_path)
    small = DATASETS["compas"](tmp_path, limit=80)
    assert sum(len(s) for s in (small.train, small.cal, small.val)) == 80
    a, b = (DATASETS["compas"](tmp_path, seed=s) for s in (0, 1))
    assert not torch.equal(a.test.x, b.test.x)
    assert len(DATASETS["compas"](tmp_path, test=0.4).test) > 60
