"""The held-out photographs that a method is evaluated on, as the networks see them."""

from dataclasses import dataclass

import numpy as np
import torch


@dataclass(frozen=True)
class Photographed:
    """The held-out photographs.

    Attributes
    ----------
    persons, conditions : ndarray (N,)
        str; the condition is empty where a source has none.
    features : Tensor (N, F)
        Of the training network: what the regressor reads.
    embeddings : ndarray (N, E)
        Unit length, of the evaluation network.
    rows : ndarray (N,)
        Of the feature store.
    """

    persons: np.ndarray
    conditions: np.ndarray
    features: torch.Tensor
    embeddings: np.ndarray
    rows: np.ndarray

    def __len__(self):
        return len(self.persons)

    def take(self, which):
        """Some of the photographs, by numbers or mask."""
        which = np.arange(len(self))[which]
        return Photographed(
            self.persons[which],
            self.conditions[which],
            self.features[torch.from_numpy(which)],
            self.embeddings[which],
            self.rows[which],
        )

    def at_most(self, photographs):
        """Keep this many photographs of each person, evenly from their list, so that all conditions are among them."""
        kept = []
        for person in np.unique(self.persons):
            theirs = np.flatnonzero(self.persons == person)
            count = min(photographs, len(theirs))
            kept.append(theirs[((np.arange(count) + 0.5) * len(theirs) / count).astype(int)])
        return self.take(np.sort(np.concatenate(kept)))


def load_photographed(store, training, network):
    """Read all test photographs from the feature store.

    Parameters
    ----------
    store : FeatureStore
    training : str
        The network whose features are read.
    network : IdentityNetwork
        The evaluation network with its centre.

    Returns
    -------
    Photographed
    """
    rows = store.rows("test")
    return Photographed(
        store.persons(rows),
        store.conditions(rows),
        torch.from_numpy(store.features[training][rows]),
        network.embed(torch.from_numpy(store.descriptors[network.name][rows])).numpy(),
        rows,
    )
