"""Training: one engine for one recipe and for many.

`problem` holds what is to be learned, once, on the device. `build` turns recipes into networks and first weights. `cohort` is
the loop: members whose tensors have equal shapes, trained side by side; `objective` is the forward half of its step, `update`
the backward half. `member` is what goes in and what comes out.
"""
