"""The callback in a Lightning trainer."""

import logging
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

pl = pytest.importorskip("lightning.pytorch")
from titrant.doctor.attach_lightning import DoctorCallback  # noqa: E402


class Module(pl.LightningModule):  # type: ignore[misc]
    """A network of two classes, with a softmax too many if asked."""

    def __init__(self, *tail: nn.Module) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Dropout(0.1), nn.Linear(16, 2), *tail)

    def training_step(self, batch: tuple[Tensor, Tensor], place: int) -> Tensor:
        return functional.cross_entropy(self.net(batch[0]), batch[1])

    def validation_step(self, batch: tuple[Tensor, Tensor], place: int) -> None:
        functional.cross_entropy(self.net(batch[0]), batch[1])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=0.01)


def trained(module: nn.Module, folder: Path, *others: Any) -> DoctorCallback:
    x = torch.randn(256, 4)
    loader = DataLoader(TensorDataset(x, (x[:, 0] > 0).long()), batch_size=16, shuffle=True)
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer = pl.Trainer(
            max_epochs=4,
            callbacks=[doctor := DoctorCallback(), *others],
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            default_root_dir=folder,
            accelerator="cpu",
        )
        trainer.fit(module, loader, loader)
    return doctor


def test_early_stopping_in_the_wrong_direction(tmp_path: Path) -> None:
    class Scored(Module):
        def validation_step(self, batch: tuple[Tensor, Tensor], place: int) -> None:
            self.log("val_acc", (self.net(batch[0]).argmax(1) == batch[1]).float().mean())

    stopping = pl.callbacks.EarlyStopping("val_acc", patience=1)
    rules = [found.rule for found in trained(Scored(), tmp_path, stopping).findings]
    assert rules[0] == "wrong_direction"


def test_a_healthy_module(tmp_path: Path) -> None:
    doctor = trained(Module(), tmp_path)
    assert [found for found in doctor.findings if found.level != "note" and found.rule != "train_validation_overlap"] == []
    assert doctor.case.wiring.steps == 64
    assert len(doctor.case.evaluations) >= 3
    assert not any(module._forward_pre_hooks for module in trained(Module(), tmp_path)._probes or [])


def test_a_softmax_too_many_and_validation_on_training_rows(tmp_path: Path) -> None:
    doctor = trained(Module(nn.Softmax(1)), tmp_path)
    assert doctor.findings[0].rule == "softmax_twice"
    assert "train_validation_overlap" in {found.rule for found in doctor.findings}
