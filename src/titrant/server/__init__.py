"""A fitted model that answers over HTTP: `titrant serve RUN`.

body of a request → rows (`rows`) → tensors → predicted together with those of other requests (`batch`) → JSON (`app`)
"""
