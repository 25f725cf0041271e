"""The tricks in Lightning: the optimizer comes from `titrant.loop`, and the doctor looks on.

pip install 'titrant[lightning]'
python examples/lightning_loop.py
"""

import tempfile

import lightning
import torch
from own_loop import digits, network
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from titrant import loop
from titrant.doctor.attach_lightning import DoctorCallback
from titrant.surgery import operate


class Digits(lightning.LightningModule):
    """A classifier of digits."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.model = operate(network(), activation="silu").network
        self.steps = steps
        self.mix = loop.Mix("mixup")

    def training_step(self, batch: tuple[Tensor, Tensor], _: int) -> Tensor:
        """The loss of a mixed batch."""
        x, mixed = self.mix(batch[0])
        return mixed(loop.loss, self.model(x), batch[1], label_smoothing=0.05)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Everything between the gradient and the next step; no further scheduler is needed."""
        return loop.Optimizer(
            self.model, self.steps, optimizer="muon", learning_rate={"peak": 0.01, "schedule": "cosine"}, clip="norm"
        )


def main(epochs: int = 10, batch: int = 64) -> float:
    """Trains, and returns the accuracy on rows that were not learned from."""
    lightning.seed_everything(0, verbose=False)
    x, y, x_test, y_test = digits()
    loader = DataLoader(TensorDataset(x / 255, y), batch, shuffle=True, drop_last=True)
    module = Digits(epochs * len(loader))
    doctor = DoctorCallback()
    with tempfile.TemporaryDirectory() as folder:
        trainer = lightning.Trainer(
            max_epochs=epochs, accelerator="cpu", callbacks=[doctor], default_root_dir=folder, logger=False,
            enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        )  # fmt: skip
        trainer.fit(module, loader)
    module.eval()
    with torch.no_grad():
        accuracy = (module.model(x_test / 255).argmax(1) == y_test).float().mean().item()
    print(f"accuracy {accuracy:.3f} on {len(y_test)} held-out digits")
    for finding in doctor.findings:
        print(finding)
    return accuracy


if __name__ == "__main__":
    main()
