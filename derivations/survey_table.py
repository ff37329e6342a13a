"""Condense the NIOSH head-and-face survey to the tables in `derivations/survey_tables`: moments, no person.

Source: National Institute for Occupational Safety and Health, "Anthropometric survey of U.S. respirator users"
(Zhuang and Bradtmiller, Head-and-face anthropometric survey of U.S. respirator users, J. Occup. Environ. Hyg. 2, 2005);
data of the US Government, in the public domain. The file with all subjects has one person per row, the codes of
`derivations.survey.MEASUREMENTS` as columns (mm), SEX (1 male, 2 female), AGEGRP (18-29, 30-44, 45-66 years) and
RACEGRP (white, black, Hispanic, other, mostly Asian); -9999 stands for what was not measured.

    python -m derivations.survey_table NIOSH_RespiratorUsersData-all-subjects.csv
"""

import argparse
from itertools import product

import pandas as pd

from derivations.survey import MEASUREMENTS, TABLES

SEX, AGE, RACE = ("male", "female"), ("18-29", "30-44", "45-66"), ("white", "black", "hispanic", "other")
FEWEST_PEOPLE = 50
"""Groups of fewer people are left out."""


def main():
    """Write `groups.csv` and `correlations.csv`."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("survey")
    people = read_survey(parser.parse_args().survey)
    TABLES.mkdir(exist_ok=True)
    groups(people).to_csv(TABLES / "groups.csv", index=False, lineterminator="\n")
    correlations(people).to_csv(TABLES / "correlations.csv", lineterminator="\n")


def read_survey(path):
    """Read the file with all subjects: a table of `MEASUREMENTS` in mm, NaN where missing, and `sex`, `race`, `age`."""
    people = pd.read_csv(path, thousands=",", skipinitialspace=True).apply(pd.to_numeric, errors="coerce")
    people = people.where(people > -9000)
    columns = {"sex": ("SEX", SEX), "race": ("RACEGRP", RACE), "age": ("AGEGRP", AGE)}
    labels = {name: people[code].map(dict(enumerate(values, 1))) for name, (code, values) in columns.items()}
    return people[list(MEASUREMENTS)].assign(**labels)


def groups(people):
    """Count, mean and standard deviation of each measurement, by sex and, where people suffice, by race and age."""
    rows = []
    for sex, race, age in product(SEX, ("all", *RACE), ("all", *AGE)):
        chosen = people.sex == sex
        chosen &= (people.race == race) | (race == "all")
        chosen &= (people.age == age) | (age == "all")
        if chosen.sum() >= FEWEST_PEOPLE:
            values = people.loc[chosen, list(MEASUREMENTS)]
            moments = {f"{name}_{part}": value for part in ("mean", "sd") for name, value in _moment(values, part)}
            rows.append({"sex": sex, "race": race, "age": age, "people": chosen.sum(), **moments})
    return pd.DataFrame(rows)


def _moment(values, part):
    return (values.mean() if part == "mean" else values.std()).round(2).items()


def correlations(people):
    """Correlations between the measurements by sex, over all races and ages."""
    tables = {sex: people.loc[people.sex == sex, list(MEASUREMENTS)].corr().round(3) for sex in SEX}
    return pd.concat(tables, names=["sex", "measurement"])


if __name__ == "__main__":
    main()
