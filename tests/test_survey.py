"""The survey's measurements: on shapes whose measures are known, and on MakeHuman's head."""

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sparse

from derivations.survey import MEASUREMENTS, TABLES, Tape, head_survey, plane_section

MIRROR = np.array([-1.0, 1.0, 1.0])


def measured(*heads):
    values = head_survey().measure(np.stack(heads))
    return [dict(zip(MEASUREMENTS, row, strict=True)) for row in values]


def globe(radius, rings=40, segments=80):
    """Points and quads of a sphere around the y axis, open at the poles."""
    polar, around = np.linspace(0.3, np.pi - 0.3, rings), 2 * np.pi * np.arange(segments) / segments
    polar, around = (values.ravel() for values in np.meshgrid(polar, around, indexing="ij"))
    points = np.stack([np.sin(polar) * np.cos(around), np.cos(polar), np.sin(polar) * np.sin(around)], axis=1)
    index = np.arange(rings * segments).reshape(rings, segments)
    right = np.roll(index, -1, axis=1)
    quads = np.stack([index[:-1], right[:-1], right[1:], index[1:]], axis=2).reshape(-1, 4)
    return radius * points, quads


def test_a_section_of_a_sphere_lies_on_a_circle():
    points, quads = globe(50.0)
    normal, origin = np.array([0.0, 1.0, 0.2]), np.array([0.0, 11.0, 0.0])
    section = plane_section(points, quads, origin, normal) @ points
    np.testing.assert_allclose((section - origin) @ normal, 0, atol=1e-9)
    np.testing.assert_allclose(np.linalg.norm(section, axis=1), 50, rtol=5e-3)


def test_tapes_add_up_their_pieces_closed_or_not():
    square = np.array([[0, 0, 0], [3, 0, 0], [3, 4, 0], [0, 4, 0.0]])
    heads = np.stack([square, 2 * square])
    operator = sparse.identity(4, format="csr")
    np.testing.assert_allclose(Tape(operator, True).length(heads), [14, 28])
    np.testing.assert_allclose(Tape(operator, False).length(heads), [10, 20])


def test_all_measurements_are_lengths_and_the_same_of_a_mirrored_and_moved_head():
    survey, base = head_survey(), head_survey().base
    random = np.random.default_rng(0)
    head = base * [1.1, 0.95, 1.05] + 0.3 * np.sin(base / 40) + random.normal(size=3)
    place = {vertex: row for row, vertex in enumerate(survey.vertices)}
    mirrored = head[[place[vertex] for vertex in survey.mirror]] * MIRROR
    first, second, scaled = measured(head, mirrored, 2.5 * head)
    for name in MEASUREMENTS:
        assert second[name] == pytest.approx(first[name], rel=1e-3), name
        assert scaled[name] == pytest.approx(2.5 * first[name]), name


def test_stretching_one_axis_changes_what_lies_along_it():
    base = head_survey().base
    plain, wide, high, deep = measured(base, base * [1.1, 1, 1], base * [1, 1.1, 1], base * [1, 1, 1.1])
    across = {"HEADBR", "MINFRBR", "MAXFRBR", "BIZYGOBR", "BIGONLBR", "NROOTBR", "NOSEBR", "LIPLTH", "INTPUPBR"}
    for name in across:
        assert wide[name] == pytest.approx(1.1 * plain[name], rel=1e-6), name
        assert high[name] == pytest.approx(plain[name]) and deep[name] == pytest.approx(plain[name]), name
    assert high["MENSELL"] > 1.09 * plain["MENSELL"] and deep["HEADLTH"] > 1.09 * plain["HEADLTH"]
    for name in ("HEADCIRC", "BITFRONT", "BITSUBN", "BITCHIN"):
        assert 1.02 * plain[name] < wide[name] < 1.1 * plain[name], name
        assert 1.02 * plain[name] < deep[name] < 1.1 * plain[name], name


def test_measurements_of_the_average_head_are_in_order():
    (plain,) = measured(head_survey().base)
    assert plain["NROOTBR"] < plain["NOSEBR"] < plain["LIPLTH"] < plain["INTPUPBR"] < plain["MINFRBR"]
    assert plain["MINFRBR"] < plain["BIZYGOBR"] < plain["HEADBR"] < plain["HEADLTH"]
    assert plain["NOSEPRO"] < plain["SUBNASAL"] < plain["MENSELL"]
    assert plain["BITSUBN"] > 1.5 * plain["BIZYGOBR"] and plain["HEADCIRC"] > 2.5 * plain["HEADLTH"]


def test_the_tables_of_the_survey_hold_every_measurement():
    groups = pd.read_csv(TABLES / "groups.csv")
    whole = groups[(groups.race == "all") & (groups.age == "all")].set_index("sex")
    assert whole.people.to_dict() == {"male": 2543, "female": 1454}
    for name in MEASUREMENTS:
        assert whole.at["male", f"{name}_mean"] > whole.at["female", f"{name}_mean"], name
        assert (groups[f"{name}_sd"] > 0).all()
    correlations = pd.read_csv(TABLES / "correlations.csv", index_col=["sex", "measurement"])
    for sex in whole.index:
        table = correlations.loc[sex, list(MEASUREMENTS)].loc[list(MEASUREMENTS)].to_numpy()
        np.testing.assert_allclose(table, table.T)
        np.testing.assert_allclose(np.diag(table), 1)
        assert np.linalg.eigvalsh(table).min() > 0
