"""PyTorch's core operations in those of TensorFlow: a traced graph is walked, and each node called by its counterpart.

What does not depend on the rows is computed by PyTorch while the graph is walked, and stands in the result as a constant. The
package itself comes as an argument: `titrant.exports.tensorflow` alone imports it.

Legend: `tf` the package, `call` the node at hand; n rows, c channels, h and w height and width.
"""

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.export import ExportedProgram
from torch.fx import GraphModule, Node

from titrant.errors import OutputError
from titrant.exports.quiet import quiet
from titrant.texts import say


@dataclass(frozen=True)
class Call:
    """One node of a graph.

    Args:
        tf: TensorFlow.
        node: what PyTorch calls here.
        single: whether double precision becomes single, for runtimes that have no other.
    """

    tf: Any
    node: Node
    single: bool

    @property
    def result(self) -> Any:
        """What PyTorch knows of the (first) result: type and shape; sizes that depend on the rows are symbols."""
        found = self.node.meta["val"]
        return found[0] if isinstance(found, tuple | list) else found

    @property
    def kind(self) -> Any:
        """The result's type in TensorFlow."""
        return self.kind_of(self.result.dtype)

    def kind_of(self, kind: torch.dtype) -> Any:
        """A type of PyTorch's in TensorFlow."""
        if kind is torch.float64 and self.single:
            kind = torch.float32
        return self.tf.as_dtype(str(kind).removeprefix("torch."))

    def value(self, given: Any, kind: Any = None) -> Any:
        """A tensor or number as a tensor of some type."""
        if self.tf.is_tensor(given):
            return given if kind is None or given.dtype == kind else self.tf.cast(given, kind)
        if kind is not None and kind.is_integer:
            given = int(given)
        return self.tf.constant(given, kind)

    def common(self, *places: int) -> Any:
        """The type in which PyTorch compares these arguments."""
        given: Any = [self.node.args[at] for at in places]
        metas = [one.meta["val"] if isinstance(one, Node) else one for one in given]
        first, second = (1 if isinstance(meta, torch.SymInt) else meta for meta in metas)
        return self.kind_of(torch.result_type(first, second))

    def shape(self, wanted: Sequence[Any]) -> Any:
        """A shape for `fill` and `broadcast_to`: a list where all sizes are known."""
        if all(isinstance(size, int) for size in wanted):
            return list(wanted)
        return self.tf.stack([self.value(size, self.tf.int32) for size in wanted])

    def axis(self, at: int, axes: int) -> int:
        """An axis counted from the front."""
        return at + axes if at < 0 else at


Operation = Callable[..., Any]
OPERATIONS: dict[str, Operation] = {}
"""By name in PyTorch, the function that calls TensorFlow's counterpart; it takes the node, and what PyTorch's takes."""


def _is(*names: str) -> Callable[[Operation], Operation]:
    """Registers a function as the counterpart of operations of these names."""

    def register(function: Operation) -> Operation:
        OPERATIONS.update(dict.fromkeys(names, function))
        return function

    return register


def core(program: ExportedProgram) -> ExportedProgram:
    """The same program, made of PyTorch's core operations."""
    with quiet(), torch.no_grad():
        made: ExportedProgram = program.run_decompositions()
    return made


def translated(tf: Any, program: ExportedProgram, inputs: Sequence[Any], *, single: bool) -> Any:
    """What a program computes of tensors, in TensorFlow.

    Args:
        tf: TensorFlow.
        program: made of core operations, see `core`.
        inputs: TensorFlow's tensors, as many as the program takes.
        single: whether double precision becomes single.

    Raises:
        OutputError: the program calls what has no counterpart here.
    """
    known: dict[Node, Any] = dict(zip(_given(program), inputs, strict=True)) | _constants(program)
    return _walked(tf, program.graph_module, known, single=single)[0]


def _walked(tf: Any, graph: GraphModule, known: dict[Node, Any], *, single: bool) -> list[Any]:
    """What a graph returns, in TensorFlow; `known` are its inputs and constants."""
    results: Any = ()
    for node in graph.graph.nodes:
        if node.op == "get_attr":
            known[node] = getattr(graph, node.target)
        elif node.op == "call_function":
            known[node] = _called(Call(tf, node, single), known)
        elif node.op == "output":
            results = node.args[0]
    calls = [Call(tf, node, single) for node in results]
    return [call.value(_converted(call, known[call.node])) for call in calls]


def _given(program: ExportedProgram) -> list[Node]:
    """The nodes that stand for inputs."""
    names = set(program.graph_signature.user_inputs)
    return [node for node in program.graph.nodes if node.op == "placeholder" and node.name in names]


def _constants(program: ExportedProgram) -> dict[Node, Any]:
    """Weights and other tensors that a program holds, by their nodes."""
    signature = program.graph_signature
    names = {**signature.inputs_to_parameters, **signature.inputs_to_buffers, **signature.inputs_to_lifted_tensor_constants}
    held = {**program.constants, **program.state_dict}
    return {
        node: held[names[node.name]].detach() for node in program.graph.nodes if node.op == "placeholder" and node.name in names
    }


def _called(call: Call, known: dict[Node, Any]) -> Any:
    """The value of one node: a constant tensor or number of PyTorch's, a tensor of TensorFlow's, or a tuple."""
    node = call.node
    name = str(node.target)
    if "_assert" in name or "sym_constrain" in name:
        return None
    args: Any = torch.fx.map_arg(node.args, known.__getitem__)
    named: Any = torch.fx.map_arg(node.kwargs, known.__getitem__)
    if node.target is operator.getitem:
        return args[0][args[1]]
    if not _depends(call.tf, (args, named)):
        with torch.no_grad():
            return node.target(*args, **named)  # type: ignore[operator]
    if node.target is torch.ops.higher_order.scan:
        return _scanned(call, *args)
    if not isinstance(node.target, torch._ops.OpOverload):
        return node.target(*args, **named)  # type: ignore[operator]  # arithmetic on sizes
    if name not in OPERATIONS:
        raise _unknown(name)
    args, named = (torch.utils._pytree.tree_map(partial(_converted, call), given) for given in (args, named))
    return OPERATIONS[name](call, *args, **named)


def _scanned(call: Call, body: GraphModule, start: Sequence[Any], inputs: Sequence[Any], others: Sequence[Any]) -> list[Any]:
    """A loop over steps: what is carried after the last one, then what each step has put out [t, ...].

    Args:
        call: the node.
        body: one step's graph; it takes what is carried, a step of each input, and `others`.
        start: what is carried into the first step.
        inputs: [t, ...] each.
        others: the same for all steps.
    """
    tf = call.tf
    shapes = [[size if isinstance(size, int) else None for size in one.shape] for one in call.node.meta["val"]]
    carried, steps = len(start), shapes[-1][0]
    places = [node for node in body.graph.nodes if node.op == "placeholder"]
    whole = [call.value(_converted(call, one)) for one in inputs]

    def turn(at: Any, states: Sequence[Any]) -> list[Any]:
        given = dict(zip(places, [*states, *(one[at] for one in whole), *others], strict=True))
        return _walked(tf, body, given, single=call.single)

    def further(at: Any, *before: Any) -> list[Any]:
        after = turn(at, before[:carried])
        # Not `TensorArray`: LiteRT plans its memory for one number of rows, and fails at others.
        put = [
            tf.tensor_scatter_nd_update(all_, [[at]], one[None])
            for all_, one in zip(before[carried:], after[carried:], strict=True)
        ]
        return [at + 1, *settled([*after[:carried], *put])]

    def settled(values: Sequence[Any]) -> list[Any]:
        """With the sizes that are known: a loop must be told that they stay."""
        return [tf.ensure_shape(one, shape) for one, shape in zip(values, shapes, strict=True)]

    # The first step stands before the loop, where its results tell how large they all are.
    first = turn(0, start)
    room = [tf.tile(one[None], [steps, *[1] * one.shape.rank]) for one in first[carried:]]
    begun = settled([*first[:carried], *room])
    return list(tf.while_loop(lambda at, *_: at < steps, further, [tf.constant(1), *begun])[1:])


def _unknown(what: str) -> OutputError:
    return OutputError(
        say("This model computes what has no counterpart in TensorFlow here: {what}. Export it to onnx or torch.", what=what)
    )


def _depends(tf: Any, given: Any) -> bool:
    """Whether there is a tensor of TensorFlow's among arguments."""
    return any(tf.is_tensor(one) for one in torch.utils._pytree.tree_leaves(given))


def _converted(call: Call, given: Any) -> Any:
    """A constant of PyTorch's as one of TensorFlow's; anything else as it is."""
    if not isinstance(given, Tensor):
        return given
    return call.tf.constant(given.contiguous().numpy(), call.kind_of(given.dtype))


# Number by number


def _alone(name: str) -> Operation:
    return lambda call, x: getattr(call.tf.math, name)(call.value(x, call.kind))


for _name in ("abs", "ceil", "cos", "erf", "exp", "floor", "log", "round", "rsqrt", "sigmoid", "sign", "sin", "sqrt", "tanh"):
    _is(f"aten.{_name}.default")(_alone(_name))
_is("aten.neg.default")(_alone("negative"))
_is("aten.reciprocal.default")(_alone("reciprocal"))


@_is("aten.expm1.default")
def _expm1(call: Call, x: Any) -> Any:
    return call.tf.exp(x) - 1 if call.single else call.tf.math.expm1(x)


@_is("aten.log1p.default")
def _log1p(call: Call, x: Any) -> Any:
    return call.tf.math.log(1 + x) if call.single else call.tf.math.log1p(x)


@_is("aten.relu.default")
def _relu(call: Call, x: Any) -> Any:
    return call.tf.nn.relu(x)


@_is("aten.gelu.default")
def _gelu(call: Call, x: Any, approximate: str = "none") -> Any:
    return call.tf.nn.gelu(x, approximate=approximate == "tanh")


@_is("aten.elu.default")
def _elu(call: Call, x: Any, alpha: float = 1.0, scale: float = 1.0, input_scale: float = 1.0) -> Any:
    return call.tf.where(x > 0, x * scale, alpha * scale * _expm1(call, call.tf.minimum(x, 0.0) * input_scale))


@_is("aten.leaky_relu.default")
def _leaky_relu(call: Call, x: Any, slope: float = 0.01) -> Any:
    return call.tf.where(x > 0, x, x * slope)


@_is("aten.hardtanh.default", "aten.clamp.default", "aten.clamp.Tensor")
def _clamp(call: Call, x: Any, low: Any = None, high: Any = None) -> Any:
    # By comparisons, because minima and maxima of not-a-number differ between runtimes.
    kept = call.value(x, call.kind)
    if low is not None:
        least = call.value(low, call.kind)
        kept = call.tf.where(kept < least, least, kept)
    if high is not None:
        most = call.value(high, call.kind)
        kept = call.tf.where(kept > most, most, kept)
    return kept


@_is("aten.isnan.default")
def _isnan(call: Call, x: Any) -> Any:
    return x != x if x.dtype.is_floating else call.tf.zeros_like(x, call.tf.bool)


@_is("aten.isinf.default")
def _isinf(call: Call, x: Any) -> Any:
    return call.tf.abs(x) == float("inf") if x.dtype.is_floating else call.tf.zeros_like(x, call.tf.bool)


@_is("aten.logical_not.default", "aten.bitwise_not.default")
def _not(call: Call, x: Any) -> Any:
    boolean = call.kind == call.tf.bool
    return call.tf.logical_not(call.value(x, call.tf.bool)) if boolean else call.tf.bitwise.invert(x)


@_is("aten._to_copy.default", "aten.clone.default", "aten.alias.default", "aten.detach.default", "aten.lift_fresh_copy.default")
def _copied(call: Call, x: Any, **_: Any) -> Any:
    return call.value(x, call.kind)


@_is("aten.copy.default")
def _filled(call: Call, x: Any, source: Any, non_blocking: bool = False) -> Any:
    return call.tf.broadcast_to(call.value(source, call.kind), call.tf.shape(x))


# Two by two


@_is("aten.add.Tensor", "aten.add.Scalar")
def _add(call: Call, x: Any, y: Any, alpha: float = 1) -> Any:
    other = call.value(y, call.kind)
    return call.value(x, call.kind) + (other if alpha == 1 else other * call.value(alpha, call.kind))


@_is("aten.sub.Tensor", "aten.sub.Scalar")
def _sub(call: Call, x: Any, y: Any, alpha: float = 1) -> Any:
    return _add(call, x, y, -alpha) if alpha != 1 else call.value(x, call.kind) - call.value(y, call.kind)


@_is("aten.mul.Tensor", "aten.mul.Scalar")
def _mul(call: Call, x: Any, y: Any) -> Any:
    return call.value(x, call.kind) * call.value(y, call.kind)


@_is("aten.div.Tensor", "aten.div.Scalar")
def _div(call: Call, x: Any, y: Any) -> Any:
    return call.value(x, call.kind) / call.value(y, call.kind)


@_is("aten.div.Tensor_mode", "aten.div.Scalar_mode")
def _div_rounded(call: Call, x: Any, y: Any, rounding_mode: str | None = None) -> Any:
    if rounding_mode == "floor":
        return call.tf.math.floordiv(call.value(x, call.kind), call.value(y, call.kind))
    if rounding_mode == "trunc":
        return call.tf.truncatediv(call.value(x, call.kind), call.value(y, call.kind))
    return _div(call, x, y)


@_is("aten.remainder.Scalar", "aten.remainder.Tensor")
def _remainder(call: Call, x: Any, y: Any) -> Any:
    return call.tf.math.floormod(call.value(x, call.kind), call.value(y, call.kind))


@_is("aten.pow.Tensor_Scalar", "aten.pow.Tensor_Tensor", "aten.pow.Scalar")
def _pow(call: Call, x: Any, y: Any) -> Any:
    if isinstance(y, int | float) and y == 2:
        return call.tf.square(call.value(x, call.kind))
    return call.tf.pow(call.value(x, call.kind), call.value(y, call.kind))


@_is("aten.maximum.default")
def _maximum(call: Call, x: Any, y: Any) -> Any:
    a, b = call.value(x, call.kind), call.value(y, call.kind)
    return call.tf.where((a >= b) | _isnan(call, a), a, b)


@_is("aten.minimum.default")
def _minimum(call: Call, x: Any, y: Any) -> Any:
    a, b = call.value(x, call.kind), call.value(y, call.kind)
    return call.tf.where((a <= b) | _isnan(call, a), a, b)


def _compared(name: str) -> Operation:
    def compare(call: Call, x: Any, y: Any) -> Any:
        kind = call.common(0, 1)
        return getattr(call.tf, name)(call.value(x, kind), call.value(y, kind))

    return compare


for _short, _name in {
    "eq": "equal",
    "ne": "not_equal",
    "lt": "less",
    "le": "less_equal",
    "gt": "greater",
    "ge": "greater_equal",
}.items():
    _is(f"aten.{_short}.Scalar", f"aten.{_short}.Tensor")(_compared(_name))


def _joined(logical: str, bitwise: str) -> Operation:
    def join(call: Call, x: Any, y: Any) -> Any:
        space = call.tf.math if call.kind == call.tf.bool else call.tf.bitwise
        name = logical if call.kind == call.tf.bool else bitwise
        return getattr(space, name)(call.value(x, call.kind), call.value(y, call.kind))

    return join


for _short in ("and", "or", "xor"):
    _is(
        f"aten.logical_{_short}.default",
        *(f"aten.bitwise_{_short}.{ending}" for ending in ("Tensor", "Scalar")),
    )(_joined(f"logical_{_short}", f"bitwise_{_short}"))


@_is("aten.where.self", "aten.where.ScalarSelf", "aten.where.ScalarOther", "aten.where.Scalar")
def _where(call: Call, condition: Any, x: Any, y: Any) -> Any:
    return call.tf.where(condition, call.value(x, call.kind), call.value(y, call.kind))


# Along axes


def _reduced(name: str) -> Operation:
    def reduce(call: Call, x: Any, axes: Any = None, keep: bool = False, dtype: Any = None) -> Any:
        return getattr(call.tf, name)(call.value(x, call.kind), axes if axes or axes == 0 else None, keepdims=keep)

    return reduce


for _short, _names in {
    "sum": ("sum.default", "sum.dim_IntList"),
    "mean": ("mean.default", "mean.dim"),
    "max": ("amax.default",),
    "min": ("amin.default",),
    "prod": ("prod.default", "prod.dim_int"),
    "any": ("any.default", "any.dim", "any.dims"),
    "all": ("all.default", "all.dim"),
}.items():
    _is(*(f"aten.{_name}" for _name in _names))(_reduced(f"reduce_{_short}"))


@_is("aten.var.correction")
def _var(call: Call, x: Any, axes: Any = None, correction: float | None = None, keepdim: bool = False) -> Any:
    found = call.tf.math.reduce_variance(x, axes or None, keepdims=keepdim)
    size = call.tf.cast(call.tf.size(x), x.dtype) / call.tf.cast(call.tf.size(found), x.dtype)
    return found * size / (size - (1 if correction is None else correction))


@_is("aten.argmax.default", "aten.argmin.default")
def _arg(call: Call, x: Any, axis: int | None = None, keepdim: bool = False) -> Any:
    find = call.tf.argmax if "argmax" in str(call.node.target) else call.tf.argmin
    if axis is None:
        return find(call.tf.reshape(x, [-1]), 0)
    found = find(x, axis)
    return call.tf.expand_dims(found, axis) if keepdim else found


@_is("aten.max.dim", "aten.min.dim")
def _extreme(call: Call, x: Any, axis: int, keepdim: bool = False) -> Any:
    greatest = "max.dim" in str(call.node.target)
    values = (call.tf.reduce_max if greatest else call.tf.reduce_min)(x, axis, keepdims=keepdim)
    places = (call.tf.argmax if greatest else call.tf.argmin)(x, axis)
    return values, call.tf.expand_dims(places, axis) if keepdim else places


@_is("aten.sort.default", "aten.sort.stable")
def _sort(call: Call, x: Any, *args: Any, **named: Any) -> Any:
    if "stable" in str(call.node.target):
        args = args[1:]
    axis, descending = [*args, -1, False][:2] if len(args) != 1 else (args[0], False)
    way = "DESCENDING" if named.get("descending", descending) else "ASCENDING"
    axis = named.get("dim", axis)
    return call.tf.sort(x, axis, way), call.tf.cast(call.tf.argsort(x, axis, way, stable=True), call.tf.int64)


@_is("aten.cumsum.default")
def _cumsum(call: Call, x: Any, axis: int, dtype: Any = None) -> Any:
    return call.tf.cumsum(call.value(x, call.kind), axis)


@_is("aten._softmax.default")
def _softmax(call: Call, x: Any, axis: int, _: bool) -> Any:
    return call.tf.nn.softmax(x, axis)


@_is("aten._log_softmax.default")
def _log_softmax(call: Call, x: Any, axis: int, _: bool) -> Any:
    return call.tf.nn.log_softmax(x, axis)


# Shapes


@_is("aten.sym_size.int")
def _size(call: Call, x: Any, axis: int) -> Any:
    return call.tf.shape(x)[axis]


@_is("aten.view.default", "aten._unsafe_view.default", "aten.reshape.default")
def _view(call: Call, x: Any, wanted: Sequence[Any]) -> Any:
    known = [size if isinstance(size, int) else None for size in call.result.shape]
    if known.count(None) == 1 and 0 not in known:
        return call.tf.reshape(x, [-1 if size is None else size for size in known])
    return call.tf.reshape(x, call.shape(wanted if None in known else known))


@_is("aten.permute.default")
def _permute(call: Call, x: Any, order: Sequence[int]) -> Any:
    return call.tf.transpose(x, [call.axis(at, len(order)) for at in order])


@_is("aten.expand.default")
def _expand(call: Call, x: Any, wanted: Sequence[Any], implicit: bool = False) -> Any:
    before = call.node.args[0].meta["val"].shape  # type: ignore[union-attr]
    if list(before) == list(call.result.shape):
        return x
    new = len(wanted) - len(before)
    sizes = [
        call.tf.shape(x)[place - new] if isinstance(size, int) and size == -1 else size for place, size in enumerate(wanted)
    ]
    sizes = [size if isinstance(size, int) else given for size, given in zip(call.result.shape, sizes, strict=True)]
    return call.tf.broadcast_to(x, call.shape(sizes))


@_is("aten.unsqueeze.default")
def _unsqueeze(call: Call, x: Any, axis: int) -> Any:
    return call.tf.expand_dims(x, axis)


@_is("aten.squeeze.dims", "aten.squeeze.dim", "aten.squeeze.default")
def _squeeze(call: Call, x: Any, axes: Any = None) -> Any:
    before = call.node.args[0].meta["val"].shape  # type: ignore[union-attr]
    given = [axes] if isinstance(axes, int) else range(len(before)) if axes is None else axes
    alone = [at for at in (call.axis(at, len(before)) for at in given) if isinstance(before[at], int) and before[at] == 1]
    return call.tf.squeeze(x, alone) if alone else x


def _part(x: Any, axis: int, part: Any) -> Any:
    """A part of a tensor along one axis."""
    return x[(slice(None),) * axis + (part,)]


@_is("aten.slice.Tensor")
def _slice(call: Call, x: Any, axis: int = 0, start: Any = None, end: Any = None, step: int = 1) -> Any:
    last = None if isinstance(end, int) and end == torch.iinfo(torch.int64).max else end
    return _part(x, call.axis(axis, len(x.shape)), slice(start, last, step))


@_is("aten.select.int")
def _select(call: Call, x: Any, axis: int, place: Any) -> Any:
    return _part(x, call.axis(axis, len(x.shape)), place)


@_is("aten.slice_scatter.default")
def _slice_scatter(
    call: Call, x: Any, source: Any, axis: int = 0, start: int | None = None, end: int | None = None, step: int = 1
) -> Any:
    at = call.axis(axis, len(x.shape))
    old, new = x.shape[at], source.shape[at]
    order = list(range(old))
    order[slice(start, end, step)] = range(old, old + new)
    return call.tf.gather(call.tf.concat([x, source], at), order, axis=at)


@_is("aten.split_with_sizes.default")
def _split(call: Call, x: Any, sizes: Sequence[int], axis: int = 0) -> Any:
    return call.tf.split(x, list(sizes), axis)


@_is("aten.cat.default")
def _cat(call: Call, parts: Sequence[Any], axis: int = 0) -> Any:
    there = [call.value(part, call.kind) for part in parts]
    return call.tf.concat(there, axis) if len(there) > 1 else there[0]


@_is("aten.flip.default")
def _flip(call: Call, x: Any, axes: Sequence[int]) -> Any:
    return call.tf.reverse(x, [call.axis(at, len(x.shape)) for at in axes])


@_is("aten.repeat.default")
def _repeat(call: Call, x: Any, times: Sequence[Any]) -> Any:
    for _ in range(len(times) - len(x.shape)):
        x = call.tf.expand_dims(x, 0)
    return call.tf.tile(x, call.shape(times))


@_is("aten.constant_pad_nd.default")
def _pad(call: Call, x: Any, pad: Sequence[int], value: float = 0) -> Any:
    axes = len(x.shape)
    pairs = [(0, 0)] * (axes - len(pad) // 2) + [(pad[at], pad[at + 1]) for at in range(len(pad) - 2, -1, -2)]
    for axis, (before, after) in enumerate(pairs):
        if before < 0 or after < 0:
            x = _part(x, axis, slice(max(0, -before), min(0, after) or None))
    pairs = [(max(0, before), max(0, after)) for before, after in pairs]
    return call.tf.pad(x, pairs, constant_values=call.value(value, x.dtype)) if any(map(any, pairs)) else x


@_is("aten.full.default")
def _full(call: Call, wanted: Sequence[Any], value: Any, **_: Any) -> Any:
    return call.tf.fill(call.shape(wanted), call.value(value, call.kind))


@_is("aten.full_like.default")
def _full_like(call: Call, x: Any, value: Any, **_: Any) -> Any:
    return call.tf.fill(call.tf.shape(x), call.value(value, call.kind))


@_is("aten.empty.memory_format")
def _empty(call: Call, wanted: Sequence[Any], **_: Any) -> Any:
    return _full(call, wanted, 0)


@_is("aten.scalar_tensor.default")
def _scalar(call: Call, value: Any, **_: Any) -> Any:
    return call.value(value, call.kind)


@_is("aten.arange.start_step")
def _arange(call: Call, start: Any, end: Any, step: Any = 1, **_: Any) -> Any:
    return call.tf.range(*(call.value(one, call.kind) for one in (start, end, step)))


# Looking up


def _wrapped(call: Call, places: Any, size: int) -> Any:
    """Places of which negative ones count from the end."""
    return call.tf.where(places < 0, places + call.value(size, places.dtype), places)


@_is("aten.index.Tensor")
def _index(call: Call, x: Any, places: Sequence[Any]) -> Any:
    used = [at for at, one in enumerate(places) if one is not None]
    size = x.shape[used[0]]
    if len(used) > 1 or places[used[0]].dtype == call.tf.bool or size is None:
        raise _unknown(say("indexing by several tensors"))
    return call.tf.gather(x, _wrapped(call, places[used[0]], size), axis=used[0])


@_is("aten.index_select.default")
def _index_select(call: Call, x: Any, axis: int, places: Any) -> Any:
    return call.tf.gather(x, places, axis=call.axis(axis, len(x.shape)))


@_is("aten.embedding.default")
def _embedding(call: Call, weight: Any, places: Any, *_: Any, **__: Any) -> Any:
    return call.tf.gather(weight, places)


@_is("aten._embedding_bag.default")
def _embedding_bag(
    call: Call, weight: Any, places: Any, starts: Any, _: bool = False, mode: int = 0, __: bool = False,
    weights: Any = None, *___: Any,
) -> Any:  # fmt: skip
    begins = call.node.args[2]
    even = isinstance(begins, Node) and str(begins.target) == "aten.arange.start_step" and len(begins.args) == 3
    if not even or mode != 0:
        raise _unknown(say("bags of unequal sizes"))
    rows = call.tf.gather(weight, places)
    rows = rows if weights is None else rows * call.tf.expand_dims(weights, -1)
    each = begins.args[2]  # type: ignore[union-attr]
    return (call.tf.reduce_sum(call.tf.reshape(rows, [-1, each, weight.shape[-1]]), 1),)


def _at_end(call: Call, x: Any, axis: int) -> tuple[Any, list[int]]:
    """A tensor with one axis moved to the end, and the order that moves it back."""
    axes = len(x.shape)
    order = [at for at in range(axes) if at != axis] + [axis]
    if axis == axes - 1:
        return x, list(range(axes))
    return call.tf.transpose(x, order), [order.index(at) for at in range(axes)]


@_is("aten.gather.default")
def _gather(call: Call, x: Any, axis: int, places: Any, sparse_grad: bool = False) -> Any:
    axis = call.axis(axis, len(x.shape))
    for other, (size, wanted) in enumerate(zip(x.shape, places.shape, strict=True)):
        if other != axis and size != wanted and wanted is not None:
            x = _part(x, other, slice(wanted))
    (table, back), (index, _) = _at_end(call, x, axis), _at_end(call, places, axis)
    return call.tf.transpose(call.tf.gather(table, index, batch_dims=len(back) - 1), back)


def _flat_places(call: Call, x: Any, axis: int, places: Any) -> tuple[Any, Any, list[int]]:
    """Where `places` along an axis lie in a tensor whose axis is moved to the end and that is then flattened."""
    (moved, back), (index, _) = _at_end(call, x, axis), _at_end(call, places, axis)
    sizes = call.tf.shape(moved)
    rows = call.value(call.tf.range(call.tf.reduce_prod(sizes[:-1])) * sizes[-1], index.dtype)
    # Added before shapes change: LiteRT adds in place to what was reshaped, though its source may be needed again.
    flat = index + call.tf.reshape(rows, call.tf.concat([sizes[:-1], [1]], 0))
    return moved, call.tf.reshape(flat, [-1, 1]), back


@_is("aten.scatter_add.default")
def _scatter_add(call: Call, x: Any, axis: int, places: Any, source: Any) -> Any:
    axis = call.axis(axis, len(x.shape))
    moved, index, back = _flat_places(call, x, axis, places)
    added = call.tf.reshape(_at_end(call, call.value(source, x.dtype), axis)[0], [-1])
    found = call.tf.scatter_nd(index, added, call.value(call.tf.expand_dims(call.tf.size(moved), 0), index.dtype))
    return x + call.tf.transpose(call.tf.reshape(found, call.tf.shape(moved)), back)


@_is("aten.scatter.src", "aten.scatter.value")
def _scatter(call: Call, x: Any, axis: int, places: Any, source: Any) -> Any:
    axis = call.axis(axis, len(x.shape))
    moved, index, back = _flat_places(call, x, axis, places)
    wanted = call.value(source, x.dtype)
    wanted = wanted if len(wanted.shape) else call.tf.fill(call.tf.shape(places), wanted)
    written = call.tf.reshape(_at_end(call, wanted, axis)[0], [-1])
    found = call.tf.tensor_scatter_nd_update(call.tf.reshape(moved, [-1]), index, written)
    return call.tf.transpose(call.tf.reshape(found, call.tf.shape(moved)), back)


# Products and convolutions


@_is("aten.mm.default", "aten.bmm.default")
def _product(call: Call, x: Any, y: Any) -> Any:
    return call.tf.matmul(x, y)


@_is("aten.addmm.default", "aten.baddbmm.default")
def _added_product(call: Call, bias: Any, x: Any, y: Any, beta: float = 1, alpha: float = 1) -> Any:
    product = call.tf.matmul(x, y)
    return (product if alpha == 1 else alpha * product) + (bias if beta == 1 else beta * bias)


@_is("aten.convolution.default")
def _convolution(
    call: Call, x: Any, weight: Any, bias: Any, stride: Sequence[int], padding: Sequence[int], dilation: Sequence[int],
    transposed: bool, output_padding: Sequence[int], groups: int,
) -> Any:  # fmt: skip
    tf = call.tf
    axes = len(stride)
    if transposed or axes > 2:
        raise _unknown(say("a transposed or three-dimensional convolution"))
    if axes == 1:  # a picture of one line
        x, weight = tf.expand_dims(x, 2), tf.expand_dims(weight, 2)
        stride, padding, dilation = ([one, *given] for one, given in ((1, stride), (0, padding), (1, dilation)))
    image = tf.pad(tf.transpose(x, [0, 2, 3, 1]), [(0, 0), *((size, size) for size in padding), (0, 0)])
    steps, wide = [1, *stride, 1], [1, *dilation, 1]
    outputs, each = weight.shape[:2]
    if groups == 1:
        found = tf.nn.conv2d(image, tf.transpose(weight, [2, 3, 1, 0]), list(stride), "VALID", dilations=list(dilation))
    elif each == 1:
        # [c · m, 1, h, w] to [h, w, c, m].
        kernel = tf.reshape(tf.transpose(weight, [2, 3, 0, 1]), [*weight.shape[2:], groups, outputs // groups])
        found = tf.nn.depthwise_conv2d(image, kernel, steps, "VALID", dilations=wide[1:3])
    else:
        pieces = zip(tf.split(image, groups, 3), tf.split(weight, groups, 0), strict=True)
        found = tf.concat(
            [
                tf.nn.conv2d(part, tf.transpose(kernel, [2, 3, 1, 0]), list(stride), "VALID", dilations=list(dilation))
                for part, kernel in pieces
            ],
            3,
        )
    found = tf.transpose(found if bias is None else found + bias, [0, 3, 1, 2])
    return tf.squeeze(found, [2]) if axes == 1 else found


@_is("aten.max_pool2d_with_indices.default")
def _max_pool(
    call: Call, x: Any, size: Sequence[int], stride: Sequence[int] = (), padding: Any = 0, dilation: Any = 1, ceil: bool = False
) -> Any:
    if any(one != 1 for one in _two(dilation)):
        raise _unknown(say("dilated pooling"))
    pads = [(0, 0)]
    for width, step, pad, before, after in zip(
        _two(size), _two(stride or size), _two(padding), x.shape[2:], call.result.shape[2:], strict=True
    ):
        pads.append((pad, max(pad, (after - 1) * step + width - before - pad)))  # the last window may reach beyond the padding
    image = call.tf.pad(call.tf.transpose(x, [0, 2, 3, 1]), [*pads, (0, 0)], constant_values=x.dtype.min)
    found = call.tf.nn.max_pool2d(image, _two(size), _two(stride or size), "VALID")
    return (call.tf.transpose(found, [0, 3, 1, 2]),)


@_is("aten.avg_pool2d.default")
def _avg_pool(
    call: Call, x: Any, size: Sequence[int], stride: Sequence[int] = (), padding: Any = 0, ceil: bool = False, *_: Any
) -> Any:
    if ceil or any(_two(padding)):
        raise _unknown(say("padded or rounded-up pooling"))
    found = call.tf.nn.avg_pool2d(call.tf.transpose(x, [0, 2, 3, 1]), _two(size), _two(stride or size), "VALID")
    return call.tf.transpose(found, [0, 3, 1, 2])


def _two(given: Any) -> list[int]:
    """A number for each axis of a picture."""
    return [given] * 2 if isinstance(given, int) else [*given, *given][:2]


# Normalisation


def _along_channels(call: Call, given: Any, axes: int) -> Any:
    """Numbers [c] so that they meet a tensor [n, c, ...]."""
    return call.tf.reshape(given, [1, -1, *[1] * (axes - 2)])


@_is("aten._native_batch_norm_legit_no_training.default")
def _batch_norm(call: Call, x: Any, weight: Any, bias: Any, mean: Any, variance: Any, momentum: float, epsilon: float) -> Any:
    factor = call.tf.math.rsqrt(variance + epsilon)
    factor = factor if weight is None else factor * weight
    shift = -mean * factor if bias is None else bias - mean * factor
    return (x * _along_channels(call, factor, len(x.shape)) + _along_channels(call, shift, len(x.shape)),)


@_is("aten.native_group_norm.default")
def _group_norm(
    call: Call, x: Any, weight: Any, bias: Any, rows: Any, channels: int, places: int, groups: int, epsilon: float
) -> Any:
    found = _standard(call, call.tf.reshape(x, [-1, groups, channels // groups * places]), [2], epsilon)
    found = call.tf.reshape(found, [-1, *x.shape[1:]])
    found = found if weight is None else found * _along_channels(call, weight, len(x.shape))
    return (found if bias is None else found + _along_channels(call, bias, len(x.shape)),)


@_is("aten.native_layer_norm.default")
def _layer_norm(call: Call, x: Any, shape: Sequence[int], weight: Any, bias: Any, epsilon: float) -> Any:
    found = _standard(call, x, list(range(-len(shape), 0)), epsilon)
    found = found if weight is None else found * weight
    return (found if bias is None else found + bias,)


def _standard(call: Call, x: Any, axes: list[int], epsilon: float) -> Any:
    """Numbers less their mean, over their standard deviation."""
    left = x - call.tf.reduce_mean(x, axes, keepdims=True)
    return left * call.tf.math.rsqrt(call.tf.reduce_mean(call.tf.square(left), axes, keepdims=True) + epsilon)
