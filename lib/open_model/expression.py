"""Facial expressions of the open model: a few muscle actions at a time, mostly the same on both sides (CC0 targets)."""

import re

import numpy as np

from lib.open_model.targets import load_groups, load_targets

RARE = re.compile(r"eyeLook|jaw(Left|Right|Forward)|mouth(Left|Right)$|platysma|losure|Blink")
AMOUNT_SPREAD, LARGEST_AMOUNT = 0.55, 1.1
JAW_OPENING = 0.75
SIDE_DIFFERENCE = 0.25

SMILES = 0.4  # share of the expressions that have a smile in them: people who are photographed smile
SMILE_STRENGTH = (0.25, 0.9)
SMILE = {"mouthSmile": 1.0, "cheekSquint": 0.8, "eyeSquint": 0.5}
OPEN_SMILE = {"mouthUpperUp": 1.5, "mouthLowerDown": 2.2, "jawOpen": 0.12}
"""Face units of a smile of strength 1, and what opens it widest: lips draw back from the teeth, the jaw stays up."""


class ExpressionSampler:
    """Draws expressions as displacements of a cage (C,), vertices of the base mesh.

    `lips` (`lib.open_model.lips.LipClosure`) keeps lips from passing through one another on the face `neutral` (C, 3).
    """

    def __init__(self, cage, lips, neutral):
        self._lips, self._neutral = lips, neutral
        self._actions = load_groups()["expressions"]
        names = sorted({name for _, sides in self._actions for side in sides for name in side})
        self._row = {name: row for row, name in enumerate(names)}
        self._directions = load_targets(names, cage).reshape(len(names), -1)
        units = [re.sub(r"faceunits/|Left$|Right$", "", name) for name in names]
        self.smile, self.open_smile = np.array([[kind.get(unit, 0) for unit in units] for kind in (SMILE, OPEN_SMILE)])
        chances = np.array([0.5 if RARE.search(name) else 1.0 for name, _ in self._actions])
        self._chances = chances / chances.sum()

    def sample(self, random):
        """Draw one expression: displacements (C, 3) in mm."""
        ancestry = random.dirichlet([0.6] * 3)
        amounts = np.zeros(len(self._directions), np.float32)
        smiles = random.random() < SMILES
        if smiles:
            # open or closed, hardly less on one side
            strength, opening = random.uniform(*SMILE_STRENGTH), max(0.0, random.uniform(-0.3, 1))
            uneven = 1 + 0.3 * SIDE_DIFFERENCE * random.normal(size=len(amounts))
            amounts += strength * uneven * (self.smile + opening * self.open_smile)
        fewest, most = (0, 3) if smiles else (2, 6)
        chosen = random.choice(len(self._actions), random.integers(fewest, most), replace=False, p=self._chances)
        for index in chosen:
            name, sides = self._actions[index]
            amount = min(abs(random.normal(0, AMOUNT_SPREAD)), LARGEST_AMOUNT)
            amount *= JAW_OPENING if re.search(r"open$|jawOpen", name) else 1.0
            for side in sides:
                alike = len(sides) == 1 or "eyeLook" in name
                strength = amount if alike else amount * max(0.0, 1 + SIDE_DIFFERENCE * random.normal())
                # MakeHuman's own actions come in three variants, one per ancestry
                for target, weight in zip(side, ancestry if len(side) == 3 else [1.0], strict=True):
                    amounts[self._row[target]] += strength * weight
        moved = self._neutral + (amounts @ self._directions).reshape(self._neutral.shape)
        return (self._lips.separate(moved) - self._neutral).astype(np.float32)
