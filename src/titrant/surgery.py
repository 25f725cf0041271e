"""Surgery on a network that somebody else wrote: other activations, normalisation, dropout and weights, in place.

    operation = operate(network, activation="gelu", dropout={"kind": "bernoulli", "p": 0.1}, sample=(x,))
    print(operation)

A trick of a recipe's slot becomes an ordinary module of `torch.nn`, and takes the place of the one that did this before. What
cannot be exchanged safely is left as it is and named, with the reason: an activation that is called inside `forward` is code,
no module; a sigmoid may be a gate; the last activation is the output.

Order of work: weights, normalize, activation, dropout, initialize; the last takes its gain from the activation that is then
in use.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, get_args

import torch
from torch import Generator, Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils.hooks import RemovableHandle

from titrant.errors import RecipeError
from titrant.recipe import Recipe
from titrant.texts import say
from titrant.tricks import activation as act
from titrant.tricks import dropout as drop
from titrant.tricks import normalize as norm
from titrant.tricks.base import Off, Trick
from titrant.tricks.initialize import InitializeTrick, Ridge, unit_variance_scale
from titrant.tricks.model import Reaching
from titrant.tricks.weights import FEWEST, WeightsTrick

SLOTS: tuple[str, ...] = get_args(Reaching)
"""The slots of a recipe that reach into a network of somebody else's, in the order in which they act."""

_ACTIVATIONS = (
    nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.ELU, nn.CELU, nn.SELU, nn.GELU, nn.SiLU, nn.Mish, nn.Hardswish, nn.Softplus,
    nn.Tanh,
)  # fmt: skip
_GATES = (nn.Sigmoid, nn.Hardsigmoid)
_NORMS_FIRST = (
    nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.GroupNorm, nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d,
)  # fmt: skip
_NORMS_LAST = (nn.LayerNorm, nn.RMSNorm)
_DROPOUTS = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout)
_LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
_PASSING = (nn.Identity, nn.Flatten, nn.Unflatten, *_DROPOUTS)
_TRANSFORMERS = (nn.TransformerEncoderLayer, nn.TransformerDecoderLayer)
_RECURRENT = (nn.RNN, nn.GRU, nn.LSTM)
_CODE = {
    "activation": {"relu", "relu_", "leaky_relu", "elu", "selu", "gelu", "silu", "mish", "hardswish", "softplus", "tanh"},
    "dropout": {"dropout", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout"},
    "normalize": {"batch_norm", "layer_norm", "group_norm", "instance_norm", "rms_norm"},
}


@dataclass(frozen=True)
class Change:
    """What was exchanged.

    Args:
        slot: whose trick acted.
        where: the module's name; "" is the network itself.
        before, after: what stood there, and what stands there now.
    """

    slot: str
    where: str
    before: str
    after: str

    def __str__(self) -> str:
        return say("{slot}: {where}: {before} → {after}", slot=self.slot, where=self.where or ".", before=self.before,
                   after=self.after)  # fmt: skip


@dataclass(frozen=True)
class Refusal:
    """What was left as it is.

    Args:
        slot: whose trick did not act.
        where: the module's name; "" is the network itself.
        why: the reason, and what would help.
    """

    slot: str
    where: str
    why: str

    def __str__(self) -> str:
        return say("{slot}: {where} is left as it is: {why}", slot=self.slot, where=self.where or ".", why=self.why)


@dataclass
class Operation:
    """What `operate` did.

    Attributes:
        network: the network afterwards; the one that was given, unless that was itself a module to exchange.
        changes: what was exchanged, in order.
        refusals: what could not be.
    """

    network: nn.Module
    changes: list[Change] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)

    def acted(self, slot: str) -> bool:
        """Whether anything was changed for a slot."""
        return any(change.slot == slot for change in self.changes)

    def refuse(self, slot: str, where: str, why: str) -> None:
        """Notes what is left as it is."""
        self.refusals.append(Refusal(slot, where, why))

    def __str__(self) -> str:
        return "\n".join(map(str, [*self.changes, *self.refusals])) or say("Nothing was changed.")


Given = str | bool | Mapping[str, Any] | Trick | None
"""A trick as people write it: `"gelu"`, `{"kind": "bernoulli", "p": 0.1}`, False for off; None leaves the slot alone."""


def operate(
    network: nn.Module,
    *,
    weights: Given = None,
    normalize: Given = None,
    activation: Given = None,
    dropout: Given = None,
    initialize: Given = None,
    sample: tuple[Any, ...] | None = None,
    seed: int = 0,
) -> Operation:
    """Exchanges parts of a network, in place.

    Args:
        network: any module; its parts keep their places and names. Make the optimizer afterwards.
        weights: what every convolution of torch's own makes of its weights before it uses them; names of parameters stay. A
            trick that learns gains adds one for each unit.
        normalize: the kind that takes the place of every normalisation with channels in front (batch, layer, group, instance,
            off), or behind (layer, rms, off). Learned scales and shifts move over. Where there is none, none is put in.
        activation: the kind that takes the place of every hidden activation.
        dropout: the dose of every dropout there is; where there is none, one is put behind every hidden activation.
        initialize: how the weights of linear, convolutional, attention and recurrent layers are drawn anew. Layers that start
            at zero on purpose, embeddings and norms stay.
        sample: arguments of a call of the network, as a few real rows; by it, code that does the same as a module is found and
            named, and the last layer is known for sure. `initialize: lsuv` needs it.
        seed: of the weights that are drawn.

    Raises:
        RecipeError: a trick is unknown or out of range, or is none that a foreign network can have.

    Example:
        >>> network = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
        >>> print(operate(network, activation="gelu", dropout={"kind": "bernoulli", "p": 0.1}))
        activation: 1: ReLU → GELU
        dropout: 1: nothing → Dropout(p=0.1)

    Source: Composer's algorithms that surgically change a model (MosaicML), which reach modules alone, as here.
    """
    given = {
        "weights": weights, "normalize": normalize, "activation": activation, "dropout": dropout, "initialize": initialize,
    }  # fmt: skip
    asked = {slot: _trick(slot, value) for slot, value in given.items() if value is not None}
    operation = Operation(network)
    if isinstance(network, torch.jit.ScriptModule):
        why = say("it is compiled by torch.jit; operate on the module that it was made from")
        operation.refusals += [Refusal(slot, "", why) for slot in asked]
        return operation
    order, axes, in_code = _observed(network, sample)
    last = next((module for module in reversed(order) if not isinstance(module, _PASSING)), None)
    operation.refusals += [refusal for refusal in in_code if refusal.slot in asked]
    if "weights" in asked:
        _reweigh(operation, asked["weights"], _gain_here(network, last))
    if "normalize" in asked:
        _normalize(operation, asked["normalize"], axes)
    if "activation" in asked:
        _activate(operation, asked["activation"], last)
    if "dropout" in asked:
        _drop(operation, asked["dropout"], last)
    if "initialize" in asked:
        trick = asked["initialize"]
        assert isinstance(trick, InitializeTrick)
        head = next((module for module in reversed(order) if isinstance(module, _LAYERS)), None)
        gain = _gain_here(operation.network, last)
        _initialize(operation, trick, gain, head, Generator().manual_seed(seed), sample)
    return operation


def _trick(slot: str, given: Given) -> Trick:
    trick = Recipe.of({slot: given}).at(slot)
    if isinstance(trick, drop.Variational | drop.Zoneout | Ridge):
        raise RecipeError(
            say("{slot}: {kind} needs a network of Titrant's own; a foreign one cannot have it.", slot=slot, kind=trick.kind)
        )
    return trick


# ------------------------------------------------------------------ exchange


def _exchange(operation: Operation, slot: str, found: Sequence[tuple[str, nn.Module]], make: Callable[..., nn.Module]) -> None:
    """Puts what `make` gives for each module into all its places; a module that stands in several is made once."""
    made: dict[int, nn.Module] = {}
    for name, module in found:
        if id(module) not in made:
            made[id(module)] = _alike(make(module), module, operation.network)
        _put(operation, name, made[id(module)])
        operation.changes.append(Change(slot, name, _shown(module), _shown(made[id(module)])))


def _put(operation: Operation, name: str, module: nn.Module) -> None:
    if name:
        operation.network.set_submodule(name, module)
    else:
        operation.network = module


def _alike(new: nn.Module, old: nn.Module, network: nn.Module) -> nn.Module:
    """A new module in the old one's mode, and where that one's numbers are, or else the network's."""
    tensors = (tensor for module in (old, network) for tensor in [*module.parameters(), *module.buffers()])
    like = next((tensor for tensor in tensors if tensor.is_floating_point()), None)
    new.train(old.training)
    return new if like is None else new.to(device=like.device, dtype=like.dtype)


def _shown(module: nn.Module) -> str:
    if isinstance(module, nn.Sequential):
        return " + ".join(_shown(part) for part in module)
    if isinstance(module, _DROPOUTS):
        return f"{type(module).__name__}(p={module.p:g})"
    return type(module).__name__


def _places(network: nn.Module, kinds: tuple[type[nn.Module], ...]) -> list[tuple[str, nn.Module]]:
    """All places of modules of some kinds, in the order of their names' first appearance."""
    return [(name, m) for name, m in network.named_modules(remove_duplicate=False) if isinstance(m, kinds)]


# ------------------------------------------------------------------ weights


class Reweighed(nn.modules.conv._ConvNd):
    """A convolution of torch's that makes something of its weights before it uses them."""

    trick: WeightsTrick
    gain: nn.Parameter | None

    def forward(self, input: Tensor) -> Tensor:
        """Convolves with what the trick makes of the weights."""
        weight = self.trick.apply(self.weight.flatten(1), self.gain).view_as(self.weight)
        return self._conv_forward(input, weight, self.bias)


class ReweighedConv1d(Reweighed, nn.Conv1d):
    """Of series."""


class ReweighedConv2d(Reweighed, nn.Conv2d):
    """Of pictures."""


class ReweighedConv3d(Reweighed, nn.Conv3d):
    """Of volumes."""


_REWEIGHED: dict[type, Any] = {
    nn.Conv1d: ReweighedConv1d, nn.Conv2d: ReweighedConv2d, nn.Conv3d: ReweighedConv3d,
}  # fmt: skip


def _reweigh(operation: Operation, trick: Trick, gain: float) -> None:
    if not isinstance(trick, WeightsTrick):
        return
    found = _places(operation.network, tuple(_REWEIGHED))
    if not found:
        operation.refuse("weights", "", say("it has no convolution"))
    able = []
    for name, module in found:
        assert isinstance(module, nn.modules.conv._ConvNd)
        if type(module) not in _REWEIGHED:
            operation.refuse("weights", name, say("it is no convolution of torch's own, but {kind}", kind=_shown(module)))
        elif module.weight[0].numel() < FEWEST:
            operation.refuse("weights", name, say("its units have fewer than {fewest} weights", fewest=FEWEST))
        else:
            able.append((name, module))
    _exchange(operation, "weights", able, lambda old: _reweighed(old, trick, gain))


def _reweighed(old: nn.Module, trick: WeightsTrick, gain: float) -> nn.Module:
    assert isinstance(old, nn.modules.conv._ConvNd)
    new: Reweighed = _REWEIGHED[type(old)](
        old.in_channels, old.out_channels, old.kernel_size, old.stride, old.padding, old.dilation, old.groups,
        old.bias is not None, old.padding_mode,
    )  # fmt: skip
    new.weight, new.bias, new.trick = old.weight, old.bias, trick
    new.gain = nn.Parameter(torch.full((old.out_channels,), gain)) if trick.learns else None
    return new


# ---------------------------------------------------------------- normalize


def _normalize(operation: Operation, trick: Trick, axes: Mapping[int, int]) -> None:
    found = _places(operation.network, (*_NORMS_FIRST, *_NORMS_LAST))
    if not found:
        operation.refuse("normalize", "", say("it has no module that normalises, and none is put in"))
    able = []
    for name, module in found:
        why = _cannot_normalize(module, trick, axes.get(id(module)))
        if why:
            operation.refuse("normalize", name, why)
        else:
            able.append((name, module))
    _exchange(operation, "normalize", able, lambda old: _normalizer(old, trick, axes.get(id(old))))
    if able:
        for _, layer in _places(operation.network, _TRANSFORMERS):
            _forbid_shortcut(layer)


def _forbid_shortcut(layer: nn.Module) -> None:
    """Torch's own shortcut in evaluation takes layer norm, ReLU and GELU for granted; this flag is what it asks."""
    layer.activation_relu_or_gelu = 0  # type: ignore[assignment]


def _cannot_normalize(module: nn.Module, trick: Trick, axes: int | None) -> str:
    """Why a module cannot become another kind of normalisation; nothing where it can."""
    if isinstance(trick, Off):
        return ""
    if isinstance(trick, norm.Ghost):
        return say("torch has no module that normalises parts of a batch")
    if isinstance(module, _NORMS_LAST):
        if len(module.normalized_shape) > 1:
            return say("it normalises over several axes at once")
        if not isinstance(trick, norm.Layer | norm.RMS):
            return say("its channels come last, where only layer, rms and off can stand")
        return ""
    if isinstance(trick, norm.RMS):
        return say("its channels come in front, where no rms norm of torch's can stand")
    if isinstance(trick, norm.Batch) and isinstance(module, nn.GroupNorm) and axes is None:
        return say("batch norm depends on the axes of its input; give a sample")
    flat = axes == 2 or (axes is None and isinstance(module, nn.BatchNorm1d))
    if isinstance(trick, norm.Instance) and flat:
        return say("instance norm leaves nothing of rows without places")
    return ""


def _normalizer(old: nn.Module, trick: Trick, axes: int | None) -> nn.Module:
    new: nn.Module
    channels = _channels(old)
    match trick:
        case norm.Batch():
            kinds: dict[int, type[nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d]] = {
                2: nn.BatchNorm1d, 3: nn.BatchNorm1d, 4: nn.BatchNorm2d, 5: nn.BatchNorm3d,
            }  # fmt: skip
            new = kinds[axes or _axes_of(old)](channels, trick.epsilon, trick.momentum)
        case norm.Layer() if isinstance(old, _NORMS_LAST):
            new = nn.LayerNorm(channels, trick.epsilon)
        case norm.Layer():
            new = nn.GroupNorm(1, channels, trick.epsilon)
        case norm.Group():
            new = nn.GroupNorm(norm.divisor(channels, trick.groups), channels, trick.epsilon)
        case norm.Instance():
            new = nn.GroupNorm(channels, channels, trick.epsilon)
        case norm.RMS():
            new = nn.RMSNorm(channels, trick.epsilon)
        case _:
            return nn.Identity()
    with torch.no_grad():
        for name in ("weight", "bias"):
            theirs, ours = getattr(old, name, None), getattr(new, name, None)
            if theirs is not None and ours is not None:
                ours.copy_(theirs)
    return new


def _channels(module: nn.Module) -> int:
    match module:
        case nn.LayerNorm() | nn.RMSNorm():
            return int(module.normalized_shape[0])
        case nn.GroupNorm():
            return module.num_channels
    return int(module.num_features)  # type: ignore[arg-type]  # of batch and instance norm


def _axes_of(module: nn.Module) -> int:
    """Axes that a batch or instance norm says it reads."""
    return 2 + int(type(module).__name__[-2])


# --------------------------------------------------------------- activation


def _hidden(network: nn.Module, last: nn.Module | None) -> list[tuple[str, nn.Module]]:
    """Places of hidden activations."""
    return [(name, module) for name, module in _places(network, _ACTIVATIONS) if module is not last]


def _activate(operation: Operation, trick: Trick, last: nn.Module | None) -> None:
    network = operation.network
    found = _hidden(network, last)
    layers = _places(network, _TRANSFORMERS)
    for name, module in _places(network, (*_ACTIVATIONS, *_GATES)):
        if module is last:
            operation.refuse("activation", name, say("it gives the network's output"))
        elif isinstance(module, _GATES):
            operation.refuse("activation", name, say("a sigmoid may be a gate or an output"))
    for name, _ in _places(network, _RECURRENT):
        operation.refuse("activation", name, say("the cells of a recurrent layer have their own"))
    if not found and not layers and not operation.refusals:
        operation.refuse("activation", "", say("it has no module that is an activation"))
    _exchange(operation, "activation", found, lambda _: _activator(trick))
    for name, module in layers:
        before = getattr(module.activation, "__name__", type(module.activation).__name__)
        module.activation = _activator(trick)
        _forbid_shortcut(module)
        operation.changes.append(Change("activation", name, before, _shown(module.activation)))


def _activator(trick: Trick) -> nn.Module:
    """A slot's trick as a module of torch's."""
    match trick:
        case act.ReLU():
            return nn.ReLU()
        case act.LeakyReLU():
            return nn.LeakyReLU(trick.slope)
        case act.PReLU():
            return nn.PReLU()
        case act.ELU():
            return nn.ELU(trick.alpha)
        case act.SELU():
            return nn.SELU()
        case act.GELU():
            return nn.GELU()
        case act.SiLU():
            return nn.SiLU()
        case act.Mish():
            return nn.Mish()
        case act.Sigmoid():
            return nn.Sigmoid()
        case act.Tanh():
            return nn.Tanh()
    return nn.Identity()


def _gain_here(network: nn.Module, last: nn.Module | None) -> float:
    """The gain of the activation that most hidden places have; 1 where there is none."""
    kinds = {
        nn.ReLU: act.ReLU(), nn.ReLU6: act.ReLU(), nn.LeakyReLU: act.LeakyReLU(), nn.PReLU: act.PReLU(), nn.ELU: act.ELU(),
        nn.CELU: act.ELU(), nn.SELU: act.SELU(), nn.GELU: act.GELU(), nn.SiLU: act.SiLU(), nn.Hardswish: act.SiLU(),
        nn.Mish: act.Mish(), nn.Tanh: act.Tanh(), nn.Sigmoid: act.Sigmoid(),
    }  # fmt: skip
    found = [type(module) for _, module in [*_hidden(network, last), *_places(network, (nn.Sigmoid,))] if type(module) in kinds]
    return act.gain_of(kinds[max(set(found), key=found.count)]) if found else 1.0


# ------------------------------------------------------------------ dropout


def _drop(operation: Operation, trick: Trick, last: nn.Module | None) -> None:
    network = operation.network
    p = trick.p if isinstance(trick, drop.Bernoulli | drop.Alpha) else 0.0
    found = _places(network, _DROPOUTS)
    attention = [(name, m) for name, m in network.named_modules() if isinstance(m, nn.MultiheadAttention) and m.dropout > 0]
    recurrent = [(name, m) for name, m in network.named_modules() if isinstance(m, _RECURRENT) and m.num_layers > 1]
    for name, layer in [*attention, *recurrent]:
        if layer.dropout != p:
            operation.changes.append(Change("dropout", name, f"dropout={layer.dropout:g}", f"dropout={p:g}"))
            layer.dropout = p
    if found or attention or recurrent:
        kept = not isinstance(trick, drop.Alpha)
        _exchange(operation, "dropout", found, lambda old: type(old)(p) if kept else nn.AlphaDropout(p))
    elif p > 0:
        hidden = _hidden(network, last)
        if not hidden:
            operation.refusals.append(
                Refusal("dropout", "", say("it has no dropout and no hidden activation to put one behind"))
            )
        made: dict[int, nn.Module] = {}
        for name, module in hidden:
            dropper = nn.AlphaDropout(p) if isinstance(trick, drop.Alpha) else nn.Dropout(p)
            made.setdefault(id(module), nn.Sequential(module, dropper.train(module.training)).train(module.training))
            _put(operation, name, made[id(module)])
            operation.changes.append(Change("dropout", name, say("nothing"), _shown(dropper)))


# --------------------------------------------------------------- initialize


@torch.no_grad()
def _initialize(
    operation: Operation,
    trick: InitializeTrick,
    gain: float,
    head: nn.Module | None,
    generator: Generator,
    sample: tuple[Any, ...] | None,
) -> None:
    network = operation.network
    if trick.data_driven and sample is None:
        raise RecipeError(say("initialize: {kind} measures the layers' outputs; give a sample.", kind=trick.kind))
    seen: set[int] = set()
    for name, module in network.named_modules():
        weights = matrices(module)
        if not weights or id(weights[0]) in seen:
            continue
        seen |= {id(weight) for weight in weights}
        if isinstance(weights[0], nn.UninitializedParameter):
            operation.refuse("initialize", name, say("its shape is not known before the first call"))
            continue
        if not weights[0].any():
            operation.refuse("initialize", name, say("its weights start at zero, which is a trick itself"))
            continue
        for weight in weights:
            blocks = _gates(module, weight)
            for block in weight.chunk(blocks):
                factor = 1.0 if module is head or blocks > 1 else gain
                block.copy_(trick.draw(tuple(block.shape), factor, generator))
        bias = getattr(module, "bias", None)
        if isinstance(bias, Tensor):
            bias.zero_()
        operation.changes.append(Change("initialize", name, type(module).__name__, trick.kind))
    if not operation.acted("initialize"):
        operation.refuse("initialize", "", say("it has no layer whose weights could be drawn"))
    if trick.data_driven and sample is not None:
        with unit_variance(network):
            _call(network, sample)


def matrices(module: nn.Module) -> list[Tensor]:
    """The weights of a linear, convolutional, attention or recurrent layer, without biases."""
    if isinstance(module, _LAYERS):
        return [module.weight]
    if isinstance(module, nn.MultiheadAttention):
        return [
            weight
            for weight in (module.in_proj_weight, module.q_proj_weight, module.k_proj_weight, module.v_proj_weight)
            if weight is not None
        ]
    if isinstance(module, _RECURRENT):
        return [weight for name, weight in module.named_parameters(recurse=False) if name.startswith("weight")]
    return []


def _gates(module: nn.Module, weight: Tensor) -> int:
    """Matrices that stand one upon the other in a tensor."""
    if isinstance(module, nn.MultiheadAttention):
        return 3 if weight is module.in_proj_weight else 1
    return {nn.GRU: 3, nn.LSTM: 4}.get(type(module), 1)


@contextmanager
def unit_variance(network: nn.Module) -> Iterator[None]:
    """A first call inside it rescales layer after layer so that each output has unit variance: the second half of LSUV."""

    def rescale(module: nn.Module, _: tuple[Tensor, ...], output: Tensor) -> Tensor:
        assert isinstance(module, _LAYERS)
        bias: Tensor | float = 0.0
        if module.bias is not None:
            bias = module.bias if isinstance(module, nn.Linear) else module.bias.view(-1, *[1] * (module.weight.dim() - 2))
        factor = unit_variance_scale((output - bias).flatten(1))
        module.weight.mul_(factor)
        return (output - bias) * factor + bias

    hooks = [module.register_forward_hook(rescale) for module in network.modules() if isinstance(module, _LAYERS)]
    with _removed(hooks):
        yield


# --------------------------------------------------------------------- look


def _observed(network: nn.Module, sample: tuple[Any, ...] | None) -> tuple[list[nn.Module], dict[int, int], list[Refusal]]:
    """What one call of a network shows; without a sample little is known.

    Returns:
        The modules without parts in the order in which they run, or without a sample in that of their names; by module, the
        axes of what it reads; and what `forward` does that a module could have done.
    """
    leaves = [module for module in network.modules() if not any(module.children())]
    if sample is None:
        return leaves, {}, []
    order: list[nn.Module] = []
    axes: dict[int, int] = {}
    heard = _Overheard()
    hooks = []
    for name, module in network.named_modules():

        def enter(module: nn.Module, given: tuple[Any, ...], name: str = name) -> None:
            heard.inside.append((name, module))
            if given and isinstance(given[0], Tensor):
                axes[id(module)] = given[0].dim()

        def leave(module: nn.Module, *_: Any) -> None:
            heard.inside.pop()
            if not any(module.children()):
                order.append(module)

        hooks += [module.register_forward_pre_hook(enter), module.register_forward_hook(leave, always_call=True)]
    with _removed(hooks), heard:
        _call(network, sample)
    in_code = [
        Refusal(slot, where, say("its forward calls {name}, which is code; make it a module in __init__", name=name))
        for (slot, where), name in heard.heard.items()
    ]
    return order or leaves, axes, in_code


@contextmanager
def _removed(hooks: Sequence[RemovableHandle]) -> Iterator[None]:
    """Takes hooks off again at the end."""
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


@torch.no_grad()
def _call(network: nn.Module, sample: tuple[Any, ...]) -> None:
    """A call in evaluation mode that leaves modes as they were."""
    modes = {module: module.training for module in network.modules()}
    network.eval()
    try:
        network(*sample)
    finally:
        for module, mode in modes.items():
            module.training = mode


class _Overheard(TorchFunctionMode):
    """Notes which functions are called outside torch's own modules."""

    def __init__(self) -> None:
        super().__init__()
        self.inside: list[tuple[str, nn.Module]] = []
        self.heard: dict[tuple[str, str], str] = {}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = getattr(func, "__name__", "")
        if self.inside and not type(self.inside[-1][1]).__module__.startswith("torch.nn"):
            for slot, names in _CODE.items():
                if name in names:
                    self.heard.setdefault((slot, self.inside[-1][0]), name)
        return func(*args, **(kwargs or {}))
