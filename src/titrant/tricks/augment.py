"""The augment slot: each batch sees slightly different rows, pictures, series or texts, so that none is learned by heart.

Kinds for tables stand in `augment_rows`, those for series in `augment_series`, those for texts in `augment_text`. Kinds for
pictures stand in `augment_places`, `augment_colours`, `augment_pixels`, `augment_policies` and `augment_resize`; they act in
the order: colours, places, pixels, size. Within each, the order is that of the fields.
"""

from typing import Annotated, ClassVar, Literal

from pydantic import BaseModel, ConfigDict

from titrant.tricks.augment_colours import Brightness, Contrast, Grey, Hue, Saturation
from titrant.tricks.augment_pixels import (
    AutoContrast,
    Blur,
    Cutout,
    Equalize,
    GaussianGrain,
    Posterize,
    RandomErase,
    SaltPepper,
    Sharpness,
    Solarize,
)
from titrant.tricks.augment_places import Crop, Flip, Rotate, Scale, Shear, Shift, Translate
from titrant.tricks.augment_policies import AugMix, RandAugment, TrivialAugment
from titrant.tricks.augment_resize import Resize
from titrant.tricks.augment_rows import FeatureMask, GaussianNoise, SwapNoise
from titrant.tricks.augment_series import (
    Amplify,
    ChannelDrop,
    FrequencyMask,
    Jitter,
    MagnitudeWarp,
    Permutation,
    SignFlip,
    TimeWarp,
    WindowSlice,
    WindowWarp,
)
from titrant.tricks.augment_text import EmbeddingDrop, TokenDrop, TokenSwap, TokenUnknown
from titrant.tricks.base import DataKind, Off, Options, Trick


class Mirror(Trick):
    """Averages the predictions for a picture and for its mirror image, left and right exchanged; training does not change.

    Doses: none.

    Shape: unchanged.

    Example:
        >>> Mirror().kind
        'mirror'

    Source: test-time augmentation as in Krizhevsky et al. 2012; flips alone as in K. Jordan 2024 (arXiv 2404.00498).
    Interactions: doubles the time of evaluation and prediction; wants training with flips.
    """

    unit: ClassVar[str] = "pictures"
    reads: ClassVar[tuple[DataKind, ...]] = ("image",)
    kind: Literal["mirror"] = "mirror"


class Augment(BaseModel):
    """The augment slot: of rows, of pictures, of series, of texts; and `views`, at which a finished model looks.

    Example:
        >>> Augment(mask={"p": 0.2}).mask
        FeatureMask(kind='mask', p=0.2)
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    swap: Annotated[Off | SwapNoise, Options()] = Off()
    noise: Annotated[Off | GaussianNoise, Options()] = Off()
    mask: Annotated[Off | FeatureMask, Options()] = Off()
    flip: Annotated[Off | Flip, Options()] = Off()
    shift: Annotated[Off | Shift, Options()] = Off()
    translate: Annotated[Off | Translate, Options()] = Off()
    crop: Annotated[Off | Crop, Options()] = Off()
    rotate: Annotated[Off | Rotate, Options()] = Off()
    shear: Annotated[Off | Shear, Options()] = Off()
    scale: Annotated[Off | Scale, Options()] = Off()
    brightness: Annotated[Off | Brightness, Options()] = Off()
    contrast: Annotated[Off | Contrast, Options()] = Off()
    saturation: Annotated[Off | Saturation, Options()] = Off()
    hue: Annotated[Off | Hue, Options()] = Off()
    grey: Annotated[Off | Grey, Options()] = Off()
    policy: Annotated[Off | TrivialAugment | RandAugment | AugMix, Options()] = Off()
    posterize: Annotated[Off | Posterize, Options()] = Off()
    solarize: Annotated[Off | Solarize, Options()] = Off()
    levels: Annotated[Off | Equalize | AutoContrast, Options()] = Off()
    focus: Annotated[Off | Blur | Sharpness, Options()] = Off()
    grain: Annotated[Off | GaussianGrain | SaltPepper, Options()] = Off()
    erase: Annotated[Off | Cutout | RandomErase, Options()] = Off()
    resize: Resize = Off()
    time_warp: Annotated[Off | TimeWarp, Options()] = Off()
    window_slice: Annotated[Off | WindowSlice, Options()] = Off()
    window_warp: Annotated[Off | WindowWarp, Options()] = Off()
    permutation: Annotated[Off | Permutation, Options()] = Off()
    jitter: Annotated[Off | Jitter, Options()] = Off()
    amplify: Annotated[Off | Amplify, Options()] = Off()
    magnitude_warp: Annotated[Off | MagnitudeWarp, Options()] = Off()
    sign_flip: Annotated[Off | SignFlip, Options()] = Off()
    frequency_mask: Annotated[Off | FrequencyMask, Options()] = Off()
    channel_drop: Annotated[Off | ChannelDrop, Options()] = Off()
    token_drop: Annotated[Off | TokenDrop, Options()] = Off()
    embedding_drop: Annotated[Off | EmbeddingDrop, Options()] = Off()
    token_swap: Annotated[Off | TokenSwap, Options()] = Off()
    token_unknown: Annotated[Off | TokenUnknown, Options()] = Off()
    views: Annotated[Off | Mirror, Options()] = Off()
