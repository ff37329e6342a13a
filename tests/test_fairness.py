"""Groups of people: who is in which, and what is said of files that nobody can read."""

import json

import numpy as np
import pytest
from conftest import SHARED

from lib.core.errors import StudyError
from lib.photos.files import read_folder
from lib.photos.people import groups_of, read_people


def test_people_are_read_from_a_table(tmp_path):
    (tmp_path / "people.csv").write_text(
        "person,age,gender,ethnicity,shoe\n001,24,Female, white ,40\n002,NA,male,,41\n", encoding="utf-8"
    )
    assert read_people(tmp_path) == {
        "001": dict(age=24.0, gender="female", ethnicity="white"),
        "002": dict(gender="male"),
    }


def test_simulated_people_have_an_ancestry(tmp_path):
    people = {"person-0000": dict(age=38, gender="female", ancestry="african")}
    (tmp_path / "people.json").write_text(json.dumps(people))
    assert read_people(tmp_path) == {"person-0000": dict(age=38.0, gender="female", ethnicity="african")}


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("people.csv", "name,age\na,3\n", "needs `person` and some of age, gender, ethnicity"),
        ("people.csv", "", "is not a table"),
        ("people.csv", "person,age\nada,old\n", "the age of ada is 'old'"),
        ("people.csv", "person,age\nada,1815\n", "expected years from 0 to 130"),
        ("people.json", "{", "is not JSON"),
        ("people.json", '{"ada": 36}', "must map each person"),
    ],
)
def test_a_file_that_says_nothing_is_refused(tmp_path, name, text, said):
    (tmp_path / name).write_text(text)
    with pytest.raises(StudyError, match=said):
        read_people(tmp_path)


def test_what_is_told_twice_is_refused(tmp_path):
    (tmp_path / "people.csv").write_text("person,age\nZo\u00eb,30\nZoe\u0308,40\n", encoding="utf-8")
    with pytest.raises(StudyError, match="twice of Zo"):
        read_people(tmp_path)
    (tmp_path / "people.csv").write_text("\ufeffperson,age\nZoe\u0308,40\n", encoding="utf-8")  # as a Mac and Excel do
    assert read_people(tmp_path) == {"Zo\u00eb": {"age": 40.0}}
    (tmp_path / "people.json").write_text("{}")
    with pytest.raises(StudyError, match="people.csv and people.json stand side by side"):
        read_people(tmp_path)


def test_nothing_is_known_without_a_file(tmp_path):
    assert read_people(tmp_path) == {}
    assert groups_of({}, np.array(list("abc"), object), 1) == {}


def test_the_file_is_no_photograph(tmp_path):
    (tmp_path / "people.csv").write_text("person,age\nada,36\n")
    (tmp_path / "ada").mkdir()
    (tmp_path / "ada/1.jpg").write_bytes(b"nobody opens this")
    assert [photograph.file for photograph in read_folder(tmp_path)] == ["ada/1.jpg"]


def test_groups_hold_their_peoples_photographs():
    people = {name: dict(age=age, gender=gender) for name, age, gender in zip("abcd", (20, 31, 70, 29), "xxyx")}
    persons = np.array(list("aabbcdde"), object)
    groups = groups_of(people, persons, 1)
    assert list(groups) == ["age", "gender"]
    assert list(groups["age"]) == ["under 30", "30 to 44", "60 and over"]
    assert persons[groups["age"]["under 30"]].tolist() == list("aadd")
    assert persons[groups["gender"]["y"]].tolist() == ["c"]


def test_small_groups_and_single_ones_are_left_out():
    people = {name: dict(age=age, gender="x") for name, age in zip("abcd", (20, 31, 70, 29))}
    persons = np.array(list("aabbbbcd"), object)
    assert groups_of(people, persons, 2) == {}  # two people under 30, but nobody to compare them with
    people["b"]["age"], people["c"]["age"] = 50, 50
    assert list(groups_of(people, persons, 2)["age"]) == ["under 30", "45 to 59"]


def test_bands_meet_without_gap():
    people = {str(age): dict(age=age) for age in (0, 29.9, 30, 44, 45, 59, 60, 101)}
    groups = groups_of(people, np.array(list(people), object), 1)["age"]
    assert {name: np.flatnonzero(which).tolist() for name, which in groups.items()} == {
        "under 30": [0, 1], "30 to 44": [2, 3], "45 to 59": [4, 5], "60 and over": [6, 7],
    }  # fmt: skip


def test_what_nobody_tells_makes_no_groups():
    people = {name: dict(gender=gender) for name, gender in zip("ab", "yx")}
    assert {key: list(groups) for key, groups in groups_of(people, np.array(["a", "b"], object), 1).items()} == {
        "gender": ["x", "y"]
    }


@pytest.mark.skipif(not (SHARED / "photos/london").is_dir(), reason="needs the London set beside the repository")
def test_self_reported_groups_of_the_london_set(tmp_path):
    info = (SHARED / "photos/london/london_info.csv").read_text()
    (tmp_path / "people.csv").write_text(
        info.replace("face_id,face_age,face_gender,face_eth", "person,age,gender,ethnicity")
    )
    people = read_people(tmp_path)
    groups = groups_of(people, np.array(sorted(people), object), 8)
    assert set(groups["gender"]) == {"female", "male"} and "white" in groups["ethnicity"]
    assert groups["age"]["under 30"].sum() == sum(one.get("age", 99) < 30 for one in people.values())
