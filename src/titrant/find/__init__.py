"""Finds good doses without a search: the learning rate, the batch size, and what hardware settings are worth.

Each trains the recipe in question for seconds, on the data in question, and says what it measured.
"""

from titrant.find.batch import Batches, find_batch
from titrant.find.hardware import HardwareFound, find_hardware
from titrant.find.rate import Rates, find_rate

__all__ = ["Batches", "HardwareFound", "Rates", "find_batch", "find_hardware", "find_rate"]
