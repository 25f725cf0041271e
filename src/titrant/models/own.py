"""A person's own network among the others: made by a factory, with doses that the factory declares, lifted over the members."""

import inspect
from collections.abc import Callable
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from titrant.errors import TitrantError
from titrant.models.blocks import in_blocks
from titrant.models.network import Factory
from titrant.recipe import Recipe
from titrant.space import Dose, Range
from titrant.surgery import Operation, operate
from titrant.texts import say
from titrant.tricks.model import Custom

_ROWS = 4  # of the call that looks whether a network fits
_WITHOUT_RULE = (nn.MultiheadAttention, nn.RNNBase)
_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


class OwnBody(nn.Module):
    """A person's own network. Several members are computed by one vectorised call, or in turn where that cannot be, or is slow.

    Args:
        factory: makes it.
        recipe: of the member, or of all members of a stack, whose doses and slots that reach into the network are equal.
        inputs: features of a row, or channels of a picture or series.
        outputs: classes, values, or 1.
        places: the shape of a row behind its inputs: () of a table, (h, w) of pictures, (t,) of series.

    Attributes:
        inner: the network itself, after the surgery that the recipe asks for.
        operation: what that changed.
        in_turn: why members are computed one after another; nothing where they are not.

    Raises:
        TitrantError: there is no factory, or `hardware.checkpoint` finds no blocks in what it makes.

    Shape: [..., b, inputs, *places] to [..., b, outputs].
    """

    def __init__(
        self, factory: Factory | None, recipe: Recipe, inputs: int, outputs: int, places: tuple[int, ...] = ()
    ) -> None:
        super().__init__()
        if factory is None:
            raise TitrantError(say("The recipe's network is one of your own; give its factory (model=...)."))
        trick = recipe.model
        assert isinstance(trick, Custom)
        inner = factory(inputs, outputs, **trick.doses)
        self.axes = 2 + len(places)
        self.operation = Operation(inner)
        on_paper = any(tensor.is_meta for tensor in inner.parameters())  # made to be counted, not to compute
        if trick.surgery and not on_paper:
            sample = torch.randn(_ROWS, inputs, *places)
            slots: dict[str, Any] = {slot: getattr(recipe, slot) for slot in trick.surgery}
            self.operation = operate(inner, **slots, sample=(sample,), seed=int(torch.randint(2**31, ())))
        self.inner = self.operation.network
        self.in_turn = ""
        if recipe.hardware.checkpoint and not in_blocks(self.inner):
            raise TitrantError(
                say("hardware.checkpoint = true: the network of {name} has no nn.Sequential of two layers with weights or "
                    "more, whose blocks could be computed again. Put its blocks into one, or use hardware.checkpoint: false.",
                    name=factory_name(factory))
            )  # fmt: skip
        if recipe.hardware.checkpoint:
            self.in_turn = say("hardware.checkpoint computes the blocks of one network at a time again")
        elif any(isinstance(module, _CONVOLUTIONS) for module in self.inner.modules()):
            self.in_turn = say("convolutions of several networks at once are slower")
        elif any(isinstance(module, _WITHOUT_RULE) for module in self.inner.modules()):
            self.in_turn = say("torch.vmap has no rule for attention and recurrent layers")

    def forward(self, z: Tensor) -> Tensor:
        """The network itself, or that of each member."""
        if z.dim() == self.axes:
            return self.inner(z)  # type: ignore[no-any-return]  # a module call is untyped
        tensors = {**dict(self.inner.named_parameters()), **dict(self.inner.named_buffers())}
        if not self.in_turn:
            lifted = vmap(lambda own, rows: functional_call(self.inner, own, (rows,)), randomness="different")
            try:
                return lifted(tensors, z)  # type: ignore[no-any-return]  # vmap returns what it wraps
            except (RuntimeError, NotImplementedError) as error:
                self.in_turn = say("torch.vmap cannot lift it: {reason}", reason=str(error).split(". ")[0].splitlines()[0])
        return torch.stack([
            functional_call(self.inner, {name: tensor[k] for name, tensor in tensors.items()}, (rows,))
            for k, rows in enumerate(z)
        ])  # fmt: skip


def declared(factory: Factory) -> list[Dose]:
    """The doses that a factory declares: arguments behind the first two whose annotation says what they may be.

    `Annotated[int, Range(16, 256, log=True)]`, `Annotated[float, Range(0, 1)]`, `Literal["a", "b"]` and `bool` are doses; other
    arguments keep their defaults.

    Raises:
        TitrantError: such an argument has no default, or one that its annotation does not allow.

    Example:
        >>> def make(inputs: int, outputs: int, width: Annotated[int, Range(8, 64)] = 16) -> nn.Module:
        ...     return nn.Sequential(nn.Linear(inputs, width), nn.ReLU(), nn.Linear(width, outputs))
        >>> [(dose.name, dose.default) for dose in declared(make)]
        [('width', 16)]
    """
    made: Callable[..., Any] = factory.__init__ if isinstance(factory, type) else factory  # type: ignore[misc]  # of a class
    try:
        hints = get_type_hints(made, include_extras=True)
        parameters = [p for p in inspect.signature(factory).parameters.values() if p.kind is not p.VAR_KEYWORD]
    except (TypeError, ValueError, NameError):  # built in, or annotated by names that are not known there
        return []
    return [
        Dose(parameter.name, mark, kind is int, _default(parameter, mark, kind))
        for parameter in parameters[2:]
        for mark, kind in [_mark(hints.get(parameter.name))]
        if mark is not None
    ]


def _mark(hint: Any) -> tuple[Range | tuple[Any, ...] | None, Any]:
    """The mark of an annotation, and the type of its values."""
    if get_origin(hint) is Annotated:
        kind, *marks = get_args(hint)
        found = next((mark for mark in marks if isinstance(mark, Range)), None)
        return (found, kind) if found is not None else _mark(kind)
    if get_origin(hint) is Literal:
        return get_args(hint), None
    return ((False, True), bool) if hint is bool else (None, None)


def _default(parameter: inspect.Parameter, mark: Range | tuple[Any, ...], kind: Any) -> Any:
    value = parameter.default
    right = value is not parameter.empty and (not isinstance(mark, Range) or isinstance(value, int | float)) and value in mark
    if not right:
        expected = mark if isinstance(mark, Range) else ", ".join(map(repr, mark))
        given = say("none") if value is parameter.empty else repr(value)
        raise TitrantError(
            say("The factory's argument {name!r} is a dose and needs a default within {expected}; it has {given}.",
                name=parameter.name, expected=expected, given=given)
        )  # fmt: skip
    return float(value) if kind is float else value


def checked(make: Callable[[], nn.Module], inputs: tuple[Tensor, ...], name: str, outputs: int) -> OwnBody:
    """The body of a person's network, after a look whether it reads such rows and gives what is expected.

    Args:
        make: the whole network, with what stands before the body.
        inputs: a few rows as the whole network reads them.
        name: of the factory, for messages.
        outputs: that each row should give.

    Raises:
        TitrantError: the factory or a call of the network fails, or gives something else.
    """
    try:
        network = make()
    except TitrantError:
        raise
    except Exception as error:
        raise TitrantError(say("The factory {name} fails: {error}", name=name, error=_said(error))) from error
    body = next(module for module in network.modules() if isinstance(module, OwnBody))
    seen: list[Tensor] = []
    hook = body.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    try:
        with torch.no_grad():
            network(*inputs)
            rows = seen[0]
            out = body.inner(rows)
            if not body.in_turn:
                own = {**dict(body.named_parameters()), **dict(body.named_buffers())}  # tied weights once
                stacked = {key: value.unsqueeze(0).repeat(2, *[1] * value.dim()) for key, value in own.items()}
                functional_call(body, stacked, (torch.stack([rows, rows]),))
    except Exception as error:
        shape = tuple(seen[0].shape) if seen else say("unknown shape")
        raise TitrantError(
            say("The network of {name} fails on inputs of shape {shape}: {error}", name=name, shape=shape, error=_said(error))
        ) from error
    finally:
        hook.remove()
    expected = (len(rows), outputs)
    if not isinstance(out, Tensor) or tuple(out.shape) != expected:
        raise TitrantError(
            say("The network of {name} gives {found} for inputs of shape {inputs}; a tensor of shape {expected} is expected: "
                "for each row its logits, or its values.",
                name=name, found=tuple(out.shape) if isinstance(out, Tensor) else type(out).__name__,
                inputs=tuple(rows.shape), expected=expected)
        )  # fmt: skip
    return body


def factory_name(factory: Factory) -> str:
    """How a factory is called in records and messages.

    Example:
        >>> from torch.nn import Linear
        >>> factory_name(Linear)
        'torch.nn.modules.linear:Linear'
    """
    return f"{getattr(factory, '__module__', '?')}:{getattr(factory, '__qualname__', type(factory).__qualname__)}"


def _said(error: Exception) -> str:
    first = (str(error).splitlines() or [""])[0]
    return f"{type(error).__name__}: {first}" if first else type(error).__name__
