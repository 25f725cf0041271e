"""A trained model that takes rows as they came: schema, frozen encoders and networks, saved without any code in it."""

import hashlib
import json
from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import Annotated, Any, Self

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from pydantic import Field, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor, nn

from titrant.data.forecast import ForecastSchema
from titrant.data.learnable import AnySchema
from titrant.data.series import Stepped
from titrant.errors import OutputError, TitrantError
from titrant.models.network import Factory, Net
from titrant.models.series import around
from titrant.recipe import Recipe
from titrant.record import Record, write_bytes, write_text
from titrant.texts import say
from titrant.train.kinds import restored
from titrant.train.member import Trained
from titrant.train.problem import HELD, Problem, Reach, probabilities, tempered, values

FORMAT = 4
"""Of `model.json`."""

_ROWS = 8192  # rows predicted at a time, at most


class Origin(Record):
    """How a network came to be: what its recipe does not say.

    Args:
        seed: of all its random streams.
        steps: that it took; fewer than its recipe says where the clock cut the training short.
        fold, folds, cut: it left out fold number `fold` of `folds` that development rows were cut into under the seed `cut`;
            None: it learned from the training rows.
    """

    seed: int
    steps: int
    fold: int | None = None
    folds: int = 0
    cut: int = 0


class ModelFile(Record):
    """`model.json`: everything about a model but its weights.

    The weights' file carries a digest of its content in its name, so that no description meets the weights of another save.
    """

    format: int = Field(default=FORMAT, description="raised when older readers would misread the file")
    weights: str
    digest: str
    columns: AnySchema
    networks: list[dict[str, Any]] = Field(
        min_length=1, description="the recipe of each; their shapes follow from recipe and columns"
    )
    origins: list[Origin] | None = Field(default=None, description="how each network came to be; None in older models")
    shares: list[float] | None = Field(
        default=None, description="of each network in the mean of their predictions; None: equal"
    )
    temperatures: list[Annotated[float, Field(gt=0)]] | None = Field(
        default=None, description="by which the logarithms of each network's probabilities are divided; None: 1"
    )
    band: list[list[float]] | None = Field(
        default=None, description="of forecasts: 10th and 90th percentile of errors at each step, in units of a window's unrest"
    )
    centre: float = Field(description="of the target, regression")
    width: float = Field(description="of the target, regression")
    reach: tuple[float, float] | None = Field(
        default=None, description="to which predictions are cut, in units of `width` from `centre`; None: nowhere"
    )


class Network(nn.Module):
    """An encoder and the network behind it: raw rows to probabilities [n, o], or values [n], or [n, h] if `wide`.

    Values are cut to `reach`, see `titrant.train.problem.values`, and the logarithms of probabilities are divided by
    `temperature`: above 1 makes them more even.
    """

    def __init__(
        self,
        encoder: nn.Module,
        body: Net,
        *,
        classifies: bool,
        wide: bool = False,
        reach: Reach | None = None,
        temperature: float = 1.0,
    ) -> None:
        super().__init__()
        self.temperature = temperature
        self.wide = wide
        self.reach = reach
        self.encoder = encoder
        self.body = body
        self.classifies = classifies

    def forward(self, *inputs: Tensor) -> Tensor:
        """Encodes and predicts."""
        return self.told(*self.encoder(*inputs))

    def told(self, *encoded: Tensor) -> Tensor:
        """Predicts rows that its encoder has encoded."""
        outputs = self.body(*encoded)
        if self.classifies:
            found = probabilities(outputs, self.body.views)
            return found if self.temperature == 1 else tempered(found, self.temperature)
        return values(outputs, self.body.views, self.wide, self.reach)


class Predictor(nn.Module):
    """A model on raw rows: the weighted mean of its networks' predictions.

    Args:
        schema: how rows are read.
        networks: one or more.
        recipes: theirs.
        centre, width: mean and standard deviation of a regression target, which its networks learned in scaled form.
        shares: the weight of each network; equal ones by default.
        band: of forecasts [2, h], see `titrant.train.problem.Problem.band`.
        origins: how each network came to be, if that is known.

    Shape: forward takes raw rows as the schema gives them: of a table numbers float32 [n, f] and codes int32 [n, c], of
    pictures pixels uint8 [n, c, h, w]. It returns class probabilities [n, classes] or values float64 [n].
    """

    def __init__(
        self,
        schema: AnySchema,
        networks: Sequence[Network],
        recipes: Sequence[Recipe],
        centre: float = 0.0,
        width: float = 1.0,
        shares: Sequence[float] | None = None,
        band: Tensor | None = None,
        origins: Sequence[Origin] | None = None,
    ) -> None:
        super().__init__()
        self.origins = None if origins is None else list(origins)
        self.band = band
        self.shares = list(shares or [1 / len(networks)] * len(networks))
        self.schema = schema
        self.networks = nn.ModuleList(networks)
        self.recipes = list(recipes)
        self.centre = centre
        self.width = width
        self._find_encoders()
        self.eval()

    def _find_encoders(self) -> None:
        """For each network the first one that has the same encoder, see `_shared`."""
        encoders = [network.encoder for network in self.networks]
        self._encoders = [next(place for place, one in enumerate(encoders) if one is encoder) for encoder in encoders]

    @classmethod
    def of(
        cls,
        schema: AnySchema,
        trained: Sequence[Trained],
        problem: Problem,
        shares: Sequence[float] | None = None,
        temperatures: Sequence[float] | None = None,
        band: Tensor | None = None,
    ) -> "Predictor":
        """The model that averages trained members."""
        about = {"classifies": not problem.is_regression, "wide": problem.is_wide}
        reach = problem.reach
        networks = [
            Network(deepcopy(one.encoder).cpu(), one.network, **about, reach=reach, temperature=temperature)
            for one, temperature in zip(trained, temperatures or [1.0] * len(trained), strict=True)
        ]
        recipes = [one.member.recipe for one in trained]
        _shared(networks, recipes)
        origins = [Origin(seed=one.member.seed, steps=one.taken, **(one.member.fold or {})) for one in trained]
        return cls(
            schema, networks, recipes, problem.centre, problem.width, shares,
            None if band is None else band.cpu(), origins,
        )  # fmt: skip

    @property
    def classifies(self) -> bool:
        """True for classes, False for values."""
        return self.schema.task != "regression"

    @property
    def temperatures(self) -> list[float]:
        """By which the logarithms of each network's probabilities are divided."""
        return [network.temperature for network in self.networks if isinstance(network, Network)]

    @property
    def reach(self) -> Reach | None:
        """To which values are cut, in units of `width` from `centre`; None: nowhere."""
        first = self.networks[0]
        assert isinstance(first, Network)
        return first.reach

    def forward(self, *inputs: Tensor) -> Tensor:
        """Predictions for raw rows."""
        encoded: dict[int, tuple[Tensor, ...]] = {}
        found = []
        for share, place, network in zip(self.shares, self._encoders, self.networks, strict=True):
            assert isinstance(network, Network)
            if place not in encoded:
                encoded[place] = network.encoder(*inputs)
            found.append(share * network.told(*encoded[place]))
        mean = torch.stack(found).sum(0)
        if not self.classifies:
            return mean.double() * self.width + self.centre
        return mean

    @torch.no_grad()
    def raw(self, *inputs: Tensor) -> Tensor:
        """Predictions for any number of raw rows, some at a time, in the precision of the weights."""
        precision = next(self.networks.parameters()).dtype
        wide = [tensor.to(precision) if tensor.is_floating_point() else tensor for tensor in inputs]
        widest = max(network.body.widest * network.body.views for network in self.networks if isinstance(network, Network))
        most = min(_ROWS, max(16, HELD // widest))
        pieces = zip(*(torch.split(tensor, most) for tensor in wide), strict=True)
        return torch.cat([self(*piece) for piece in pieces])

    def encode(self, data: object, notes: list[str]) -> tuple[Tensor, ...]:
        """Reads rows from a file, a folder or a frame."""
        return self.schema.rows(data, notes).inputs

    def predict_proba(self, data: object, notes: list[str] | None = None) -> NDArray[np.float64]:
        """Class probabilities [n, classes], in the order of `schema.classes`.

        Raises:
            TitrantError: the model predicts values.
            DataError: the rows lack a column, or cannot be read.
        """
        if not self.classifies:
            raise TitrantError(say("This model predicts values, which have no class probabilities. Use predict."))
        return _evened(self.raw(*self.encode(data, [] if notes is None else notes)))

    def predict(self, data: object, notes: list[str] | None = None) -> NDArray[Any]:
        """Labels as they stood in the data, or values [n]."""
        if self.classifies:
            return self.schema.labels(self.predict_proba(data, notes).argmax(1))
        return self.raw(*self.encode(data, [] if notes is None else notes)).numpy()

    def table(self, data: object, notes: list[str]) -> pl.DataFrame:
        """Predictions as a table: `path` of pictures or `series`, `prediction`, then `probability_CLASS` for each class."""
        if isinstance(self.schema, ForecastSchema):
            newest = self.schema.newest(data, notes)
            predicted = self.raw(newest.windows)
            low, high = around(newest.windows, predicted, self.band) if self.band is not None else (None, None)
            return self.schema.laid_out(predicted.numpy(), newest, low, high)
        inputs, names = self.schema.rows(data, notes)
        found = self.answers(self.raw(*inputs))
        return found if names is None else found.insert_column(0, names)

    def answers(self, predicted: Tensor) -> pl.DataFrame:
        """What `raw` gives, as a table: `prediction`, then `probability_CLASS` for each class."""
        if not self.classifies:
            return pl.DataFrame({"prediction": predicted.numpy()})
        probability = _evened(predicted)
        columns = {"prediction": self.schema.labels(probability.argmax(1))}
        columns |= {f"probability_{label}": probability[:, c] for c, label in enumerate(self.schema.classes)}
        return pl.DataFrame(columns)

    def save(self, folder: Path) -> None:
        """Writes `model.json` and a safetensors file into `folder`; an earlier save stays readable until this one is whole."""
        folder.mkdir(parents=True, exist_ok=True)
        # The format keeps no tensor twice, and a shared encoder's must stand under the name of each of its networks.
        content = save_tensors({name: tensor.clone().contiguous() for name, tensor in self.state_dict().items()})
        digest = hashlib.sha256(content).hexdigest()
        name = f"weights-{digest[:12]}.safetensors"
        write_bytes(folder / name, content)
        described = ModelFile(
            weights=name,
            digest=digest,
            columns=self.schema,
            networks=[recipe.plain() for recipe in self.recipes],
            origins=self.origins,
            shares=self.shares,
            temperatures=self.temperatures,
            band=None if self.band is None else self.band.tolist(),
            centre=self.centre,
            width=self.width,
            reach=self.reach,
        )
        write_text(folder / "model.json", json.dumps(described.model_dump(mode="json"), indent=1) + "\n")
        for old in folder.glob("weights-*.safetensors"):
            if old.name != name:
                old.unlink(missing_ok=True)

    @classmethod
    def load(cls, folder: Path, factory: Factory | None = None) -> Self:
        """Reads a saved model; nothing in it is executed.

        Args:
            folder: where `save` wrote.
            factory: the network of `model: custom`, which no file can hold.

        Raises:
            OutputError: there is no model, it is damaged, or it needs the factory.
        """
        try:
            described = _described(folder / "model.json")
            weights = folder / Path(described.weights).name
            content = weights.read_bytes()
            if hashlib.sha256(content).hexdigest() != described.digest:
                raise OutputError(say("The weights in {path} are not those that model.json describes.", path=weights))
            return cls._restored(described, load_tensors(content), factory)
        except OutputError:
            raise
        except FileNotFoundError as error:
            raise OutputError(
                say("There is no model in {folder}: {file} is missing. Name the folder that `titrant fit` wrote.",
                    folder=folder.parent, file=f"{folder.name}/{Path(error.filename).name}")
            ) from None  # fmt: skip
        except (
            OSError,
            ArithmeticError,
            AttributeError,
            LookupError,
            RuntimeError,
            SafetensorError,
            TypeError,
            ValueError,
        ) as error:
            raise OutputError(
                say("The model in {folder} is damaged: {problem}", folder=folder, problem=_problem(error))
            ) from None

    @classmethod
    def _restored(cls, described: ModelFile, tensors: dict[str, Tensor], factory: Factory | None) -> Self:
        networks, recipes = [], []
        temperatures = described.temperatures or [1.0] * len(described.networks)
        for place, (values_, temperature) in enumerate(zip(described.networks, temperatures, strict=True)):
            recipe = Recipe.of(values_)
            if recipe.model.kind == "custom" and factory is None:
                raise OutputError(
                    say("This model uses a network of your own. Load it in Python and give its factory: model=...")
                )
            prefix = f"networks.{place}.encoder."
            own = {key.removeprefix(prefix): tensor for key, tensor in tensors.items() if key.startswith(prefix)}
            encoder, shape = restored(described.columns, recipe.data, own)
            body = shape.network([recipe], factory=factory)
            wide = isinstance(described.columns, Stepped) and described.columns.horizon is not None
            classifies = described.columns.task != "regression"
            networks.append(
                Network(encoder, body, classifies=classifies, wide=wide, reach=described.reach, temperature=temperature)
            )
            recipes.append(recipe)
        predictor = cls(
            described.columns, networks, recipes, described.centre, described.width, described.shares,
            None if described.band is None else torch.tensor(described.band, dtype=torch.float64), described.origins,
        )  # fmt: skip
        predictor.load_state_dict(tensors)
        _shared(networks, recipes)
        predictor._find_encoders()
        # A row in which everything is missing shows whether the parts fit together.
        predictor.raw(*described.columns.blank())
        return predictor


def _evened(predicted: Tensor) -> NDArray[np.float64]:
    """Probabilities in double precision: in single a row's sum is near one, and scikit-learn's metrics want it nearer."""
    found = predicted.double()
    return (found / found.sum(1, keepdim=True)).numpy()


def _shared(networks: Sequence[Network], recipes: Sequence[Recipe]) -> None:
    """Has networks with equal encoders share one, so that rows are encoded once for all of them."""
    kept: list[tuple[Recipe, nn.Module]] = []
    for network, recipe in zip(networks, recipes, strict=True):
        own = network.encoder.state_dict()
        for other, encoder in kept:
            theirs = encoder.state_dict()
            alike = other.data == recipe.data and own.keys() == theirs.keys()
            if alike and all(torch.equal(own[name], theirs[name]) for name in own):
                network.encoder = encoder
                break
        else:
            kept.append((recipe, network.encoder))


def _described(path: Path) -> ModelFile:
    text = path.read_text(encoding="utf-8")
    content = json.loads(text)
    found = content.get("format") if isinstance(content, dict) else None
    if isinstance(found, int) and found > FORMAT:
        raise OutputError(
            say("{path} has format {found}, and this version of Titrant reads {known}. Install a newer one.",
                path=path, found=found, known=FORMAT)
        )  # fmt: skip
    if isinstance(content, dict) and content.pop("temperature", 1) != 1:  # until format 3 one acted on the mean
        raise OutputError(
            say("{path} was written by an earlier version, which scaled probabilities in another way. Fit again.", path=path)
        )
    return ModelFile.model_validate(content)


def _problem(error: Exception) -> str:
    """An error in one line."""
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return f"model.json, {'.'.join(map(str, first['loc']))}: {first['msg']}"
    return " ".join(str(error).split())[:300]
