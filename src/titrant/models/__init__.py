"""Networks as ordinary modules, written so that their tensors may carry a leading member axis.

A module made for one recipe is a plain network: parameters [f], input [b, d]. Made for k recipes and given parameters with a
leading axis of k (by `torch.func.functional_call`), the same forward pass trains k members at once on inputs [k, b, d].
"""
