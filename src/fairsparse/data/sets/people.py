"""Published tables: Adult, COMPAS, law school, Dutch census, credit default, German credit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal

import pandas as pd
from pydantic import Field

from fairsparse.core import InputError
from fairsparse.data.assembly import table_task
from fairsparse.data.files import find
from fairsparse.data.files.table import read_table, require
from fairsparse.data.registry import dataset
from fairsparse.data.splits import Assigned, Held
from fairsparse.data.task import Task

ENDS = ("", ".gz")
ADULT_NUMBERS = ("age", "education-num", "capital-gain", "capital-loss", "hours-per-week")
ADULT_COLUMNS = (
    *("age", "workclass", "fnlwgt", "education", "education-num", "marital-status", "occupation"),
    *("relationship", "race", "sex", "capital-gain", "capital-loss", "hours-per-week"),
    *("native-country", "income"),
)
COMPAS_FILES = ("compas-scores-two-years.csv", "compas-two-years-deidentified.csv")
COMPAS_FEATURES = (
    *("sex", "age", "race", "juv_fel_count", "juv_misd_count", "juv_other_count", "priors_count"),
    "c_charge_degree",
)
COMPAS_FEW = ("Asian", "Native American")
LAW_SCHOOL = (
    *("decile1b", "decile3", "lsat", "ugpa", "zfygpa", "zgpa", "fulltime", "fam_inc", "male"),
    *("tier", "race", "pass_bar"),
)
DUTCH = (
    *("sex", "age", "household_position", "household_size", "prev_residence_place"),
    *("citizenship", "country_birth", "edu_level", "economic_status", "cur_eco_activity"),
    *("marital_status", "occupation"),
)
DUTCH_NUMBERS = ("age", "edu_level")
CREDIT_TARGETS = ("default payment", "default payment next month", "default.payment.next.month")


@dataset("adult", fixed=("test",))
def adult(
    path: Path,
    groups: Annotated[tuple[Literal["sex", "race"], ...], Field(min_length=1)] = ("sex",),
    drop_sensitive: bool = False,
    *,
    held: Held,
) -> Task:
    """UCI Adult, 48,842 people of the 1994 US census: income above 50K, by sex or race.

    Numbers are standardized and categories one-hot, fitted on the train split alone. The census
    weight ``fnlwgt`` is no feature, and a value recorded as ``?`` is a category of its own.

    Terms: CC BY 4.0 (Becker and Kohavi, 1996, doi:10.24432/C5XW20); sex and race are as recorded
    by the census.

    Parameters
    ----------
    path : Path
        Folder of the official ``adult.data`` and ``adult.test``, plain or gzip, or the folder
        that holds it as ``adult``.
    groups : non-empty tuple of {"sex", "race"}
        With both, groups are intersections such as ``"Female x Black"``.
    drop_sensitive : bool
        Leave the columns in `groups` out of the features; columns that go along with them, such
        as ``relationship``, stay.
    cal, val : float in (0, 0.5)
        Shares of the official training split.
    """
    files = find("adult", path, ("", "adult"), ["adult.data", "adult.test"])
    train, test = (_read_adult(file) for file in files)
    frame = pd.concat([train, test], ignore_index=True)
    unused = {"fnlwgt", "income", *(groups if drop_sensitive else ())}
    features = frame[[c for c in ADULT_COLUMNS if c not in unused]]
    words = [c for c in features if c not in ADULT_NUMBERS]
    assigned = Assigned.official(len(train), len(test))
    return table_task("adult", frame, "income", groups, features, held, assigned, words)


def _read_adult(path: Path) -> pd.DataFrame:
    try:
        frame = pd.read_csv(
            path, header=None, comment="|", skipinitialspace=True, keep_default_na=False, dtype=str
        )
    except (ValueError, OSError, EOFError) as error:
        raise InputError(f"{path} is no readable Adult file: {error}") from error
    if frame.shape[1] != len(ADULT_COLUMNS):
        raise InputError(
            f"{path} has {frame.shape[1]} columns; the official file has {len(ADULT_COLUMNS)}:"
            " fetch it again"
        )
    frame.columns = pd.Index(ADULT_COLUMNS)
    frame["income"] = frame["income"].str.rstrip(".")  # the test file ends each label in a dot
    other = sorted(set(frame["income"]) - {"<=50K", ">50K"})
    if other:
        raise InputError(
            f"{path} has the income '{other[0]}'; allowed are '<=50K' and '>50K': fetch it again"
        )
    return frame


@dataset("compas")
def compas(
    path: Path,
    groups: Annotated[tuple[Literal["race", "sex"], ...], Field(min_length=1)] = ("race",),
    merge_few: bool = True,
    drop_sensitive: bool = False,
    *,
    held: Held,
) -> Task:
    """ProPublica's COMPAS, 6,172 defendants: arrested again within two years, by race or sex.

    The rows are those of ProPublica's analysis: a charge within 30 days of the score, no mere
    traffic offence, an outcome known. Features are sex, age, race, charge degree and the counts of
    prior offences; no COMPAS score is among them.

    Terms: published for re-use from public records of Broward County, Florida, without a licence
    file (Angwin et al., 2016); race and sex are as the county recorded them. An arrest is not an
    offence: the outcome itself depends on whom the police arrest.

    Parameters
    ----------
    path : Path
        ``compas-scores-two-years.csv``, plain or gzip, or the folder that holds it.
    groups : non-empty tuple of {"race", "sex"}
        With both, groups are intersections such as ``"Hispanic x Female"``.
    merge_few : bool
        Count the 31 Asian and 11 Native American defendants as ``Other``; they are too few to be
        judged alone.
    drop_sensitive : bool
        Leave the columns in `groups` out of the features.
    """
    rules = ("days_b_screening_arrest", "is_recid", "score_text", "two_year_recid")
    frame = _read("compas", path, COMPAS_FILES, (*COMPAS_FEATURES, *rules))
    scored = frame["days_b_screening_arrest"].between(-30, 30) & (frame["is_recid"] != -1)
    charged = (frame["c_charge_degree"] != "O") & frame["score_text"].notna()
    frame = frame[scored & charged].reset_index(drop=True)
    if merge_few:
        frame["race"] = frame["race"].where(~frame["race"].isin(COMPAS_FEW), "Other")
    frame["two_year_recid"] = _named("compas", frame["two_year_recid"], {0: "no", 1: "yes"})
    features = frame[[c for c in COMPAS_FEATURES if not (drop_sensitive and c in groups)]]
    return table_task("compas", frame, "two_year_recid", groups, features, held)


@dataset("law-school")
def law_school(
    path: Path,
    groups: Annotated[tuple[Literal["race", "sex"], ...], Field(min_length=1)] = ("race",),
    drop_sensitive: bool = False,
    *,
    held: Held,
) -> Task:
    """Law school admission, 20,798 students: passed the bar, by race (White or not) or sex.

    Terms: the LSAC's bar passage study (Wightman, 1998) as cleaned by Le Quy et al. (2022), for
    research; race, in two groups, and sex are as the students answered.

    Parameters
    ----------
    path : Path
        ``law_school_clean.csv``, plain or gzip, or the folder that holds it.
    groups : non-empty tuple of {"race", "sex"}
        With both, groups are intersections such as ``"Non-White x female"``.
    drop_sensitive : bool
        Leave the columns in `groups` out of the features.
    """
    frame = _read("law-school", path, ("law_school_clean.csv",), LAW_SCHOOL)
    frame = frame.rename(columns={"male": "sex"})
    frame["sex"] = _named("law-school", frame["sex"], {0: "female", 1: "male"})
    frame["pass_bar"] = _named("law-school", frame["pass_bar"], {0: "failed", 1: "passed"})
    features = frame[[c for c in frame if c != "pass_bar" and not (drop_sensitive and c in groups)]]
    return table_task("law-school", frame, "pass_bar", groups, features, held)


@dataset("dutch-census")
def dutch_census(path: Path, drop_sensitive: bool = False, *, held: Held) -> Task:
    """Dutch census of 2001, 60,420 people: whether the occupation is a high-level one, by sex.

    Terms: Statistics Netherlands, by way of IPUMS, for research; as cleaned by Le Quy et al.
    (2022); sex is as recorded by the census.

    Parameters
    ----------
    path : Path
        ``dutch.csv``, plain or gzip, or the folder that holds it.
    drop_sensitive : bool
        Leave sex out of the features.
    """
    frame = _read("dutch-census", path, ("dutch.csv",), DUTCH)
    frame["occupation"] = _named("dutch-census", frame["occupation"], {0: "low", 1: "high"})
    unused = ["occupation", *(["sex"] if drop_sensitive else [])]
    features = frame[[c for c in DUTCH if c not in unused]]
    words = [c for c in features if c not in DUTCH_NUMBERS]
    return table_task(
        "dutch-census", frame, "occupation", ("sex",), features, held, categorical=words
    )


@dataset("credit-default")
def credit_default(
    path: Path,
    groups: Annotated[tuple[Literal["sex", "education", "marriage"], ...], Field(min_length=1)] = (
        "sex",
    ),
    drop_sensitive: bool = False,
    *,
    held: Held,
) -> Task:
    """Taiwanese credit card clients, 30,000: default next month, by sex, education or marriage.

    Terms: CC BY 4.0 (Yeh and Lien, 2009, doi:10.24432/C55S3H); sex, education and marriage are as
    the bank recorded them.

    Parameters
    ----------
    path : Path
        ``credit-card-clients.csv``, plain or gzip, or the folder that holds it: the table of the
        UCI repository with its second row as header. A column ``ID`` is no feature.
    groups : non-empty tuple of {"sex", "education", "marriage"}
        With several, groups are intersections such as ``"female x university"``. An education or
        marriage that the codebook does not explain is unknown.
    drop_sensitive : bool
        Leave the columns in `groups` out of the features.
    """
    name = "credit-default"
    frame = _read(name, path, ("credit-card-clients.csv",), ("SEX", "EDUCATION", "MARRIAGE"))
    target = next((c for c in CREDIT_TARGETS if c in frame), CREDIT_TARGETS[1])
    require(name, frame, [target])
    features = frame.drop(columns=["ID", target], errors="ignore")
    frame = frame.rename(columns=str.lower)
    frame["default"] = _named(name, frame[target], {0: "paid", 1: "default"})
    frame["sex"] = _named(name, frame["sex"], {1: "male", 2: "female"})
    schools = {1: "graduate school", 2: "university", 3: "high school"}
    frame["education"] = frame["education"].map(schools)
    frame["marriage"] = frame["marriage"].map({1: "married", 2: "single"})
    if drop_sensitive:
        features = features.drop(columns=[g.upper() for g in groups])
    words = [c for c in ("SEX", "EDUCATION", "MARRIAGE") if c in features]
    return table_task(name, frame, "default", groups, features, held, categorical=words)


@dataset("german-credit")
def german_credit(
    path: Path,
    groups: Annotated[tuple[Literal["sex", "foreign-worker"], ...], Field(min_length=1)] = ("sex",),
    drop_sensitive: bool = False,
    *,
    held: Held = Held(test=0.3, cal=0.2, val=0.2),
) -> Task:
    """German credit, 1,000 applicants: good or bad risk, by sex or foreign worker.

    So few people tell only large gaps from chance; larger shares than elsewhere are held out.

    Terms: CC BY 4.0 (Hofmann, 1994, doi:10.24432/C5NC77) as cleaned by Le Quy et al. (2022); sex is
    taken from the bank's column of personal status.

    Parameters
    ----------
    path : Path
        ``german_data_credit.csv``, plain or gzip, or the folder that holds it.
    groups : non-empty tuple of {"sex", "foreign-worker"}
        37 applicants are no foreign workers.
    drop_sensitive : bool
        Leave the columns in `groups` out of the features.
    """
    name = "german-credit"
    frame = _read(name, path, ("german_data_credit.csv",), ("sex", "foreign-worker", "class-label"))
    frame["class-label"] = _named(name, frame["class-label"], {0: "bad", 1: "good"})
    gone = ["class-label", *(groups if drop_sensitive else ())]
    return table_task(name, frame, "class-label", groups, frame.drop(columns=gone), held)


def _read(name: str, path: Path, files: Sequence[str], columns: Sequence[str]) -> pd.DataFrame:
    """Read the first of `files` that is there, or `path` itself, with these columns at least."""
    spots = [path / folder / (f + end) for folder in ("", name) for end in ENDS for f in files]
    there = [p for p in (path, *spots) if p.is_file()] or find(name, path, ("", name), files[:1])
    frame = read_table(name, there[0])
    require(name, frame, columns)
    return frame


def _named(name: str, codes: pd.Series, names: Mapping[int, str]) -> pd.Series:
    """The names of a column's codes, in their order; any other value is an `InputError`."""
    other = codes[~codes.isin(names)]
    if len(other):
        raise InputError(
            f"{name}: column '{codes.name}' has {other.iloc[0]!s} in row {other.index[0] + 1};"
            f" allowed are {', '.join(map(str, names))}: fetch the official file again"
        )
    return pd.Series(
        pd.Categorical(codes.map(names), categories=list(names.values())), index=codes.index
    )
