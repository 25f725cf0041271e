"""The start of a search for each kind of data."""

from titrant.data.images import Images
from titrant.data.learnable import Learnable
from titrant.data.series import Series
from titrant.data.text import Texts
from titrant.search.pictures import PICTURES
from titrant.search.portfolio import TABLES
from titrant.search.series import FORECASTS, SERIES
from titrant.search.starts import Start
from titrant.search.text import TEXTS


def start_for(dataset: Learnable) -> Start:
    """What is known before a search on these data."""
    if isinstance(dataset, Series):
        return FORECASTS if dataset.schema.horizon is not None else SERIES
    if isinstance(dataset, Texts):
        return TEXTS
    return PICTURES if isinstance(dataset, Images) else TABLES
