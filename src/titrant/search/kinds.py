"""The start of a search for each kind of data."""

from titrant.data.images import Images
from titrant.data.learnable import Learnable
from titrant.data.series import Series
from titrant.search.pictures import PICTURES
from titrant.search.portfolio import TABLES
from titrant.search.series import FORECASTS, SERIES
from titrant.search.starts import Start


def start_for(dataset: Learnable) -> Start:
    """What is known before a search on these data."""
    if isinstance(dataset, Series):
        return FORECASTS if dataset.schema.horizon is not None else SERIES
    return PICTURES if isinstance(dataset, Images) else TABLES
