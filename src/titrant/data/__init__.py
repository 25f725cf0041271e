"""From files and frames to raw tensors with a schema, and their division into parts."""
