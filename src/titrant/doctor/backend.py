"""Which back end Keras takes where nobody has chosen: importing this module before Keras decides it."""

import os
from importlib.util import find_spec

# Keras' own choice is TensorFlow, and without TensorFlow it cannot even be imported.
if find_spec("tensorflow") is None:
    os.environ.setdefault("KERAS_BACKEND", "torch")
