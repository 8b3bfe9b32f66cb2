"""`openmer bench`: what a network costs on this machine.

Each preset is measured in a process of its own, so that peak memory is its own. Times are the median of repeated runs
after warming up; the share of peak compares the network's operations per second with those of a large matrix product.
"""

import json
import os
import platform
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch.nn.functional import cross_entropy
from torch.utils.flop_counter import FlopCounterMode

from openmer.bench.settings import BenchSettings
from openmer.errors import InputError, OutputError
from openmer.files import write_atomic
from openmer.models.config import Head
from openmer.models.mol import MOL, MOLOutput, create_model
from openmer.models.onnx import OnnxNetwork, export_onnx
from openmer.models.weights import ModelDescription, read_record, save_model
from openmer.processes import worker_pool
from openmer.version import __version__, commit, cpu_name

SLOW_GFLOPS = 5.0  # bfloat16 on a CPU without instructions for it reaches less


def bench(preset: str, settings: BenchSettings) -> dict[str, Any]:
    """Measure one preset in a process of its own.

    Raises:
        InputError: the preset is unknown, or the device is not available.
    """
    create_model(preset)
    if settings.device == "cuda" and not torch.cuda.is_available():
        raise InputError("there is no CUDA device here; leave out --device to measure on the CPU")
    with worker_pool(1) as pool:
        return pool.submit(measure, preset, settings).result()


def measure(preset: str, settings: BenchSettings) -> dict[str, Any]:
    """Measure one preset in this process; see `bench`."""
    torch.manual_seed(0)
    model = create_model(preset).to(settings.device).eval()
    clip = torch.randn(settings.batch, model.config.frames, 1, model.config.size, model.config.size)
    clip = clip.to(settings.device)
    figures: dict[str, Any] = {
        "parameters_m": round(sum(p.numel() for p in model.parameters()) / 1e6, 3),
        "gflop": {h: _gflop(model, clip, (h,)) / settings.batch for h in model.heads},
    }
    figures["gflop"]["all"] = _gflop(model, clip, model.heads) / settings.batch
    network: Callable[..., MOLOutput] = torch.compile(model) if settings.compile else model
    with torch.inference_mode(), _precision(settings):
        peak = _matmul_gflops(settings)
        for name, heads in (("mer", ("mer",)), ("all", model.heads)):
            seconds = _median_s(partial(network, clip, heads), settings)
            figures[f"ms_a_clip_{name}"] = round(1000 * seconds / settings.batch, 2)
        figures["share_of_matmul_peak"] = round(figures["gflop"]["all"] / figures["ms_a_clip_all"] * 1000 / peak, 3)
        figures["matmul_gflops"] = round(peak, 1)
    if settings.train_batch:
        figures["ms_a_training_step"] = round(1000 * _training_step_s(model, network, settings), 1)
    figures["peak_mb"] = _peak_mb(settings.device)
    if settings.onnx:
        for name, heads in (("mer", ("mer",)), ("all", model.heads)):
            seconds = _median_s(partial(_as_onnx(model, heads), clip.numpy()), settings)
            figures[f"ms_a_clip_{name}_onnx"] = round(1000 * seconds / settings.batch, 2)
    return figures


def _as_onnx(model: MOL, heads: tuple[Head, ...]) -> OnnxNetwork:
    with tempfile.TemporaryDirectory() as folder:
        weights, graph = Path(folder) / "fresh.safetensors", Path(folder) / "fresh.onnx"
        names = tuple(f"class {k}" for k in range(model.config.num_classes))
        save_model(model, weights, ModelDescription(classes=names, trained_on="nothing: fresh weights"))
        export_onnx(model, read_record(weights), graph, heads=heads)
        return OnnxNetwork(graph)


def _gflop(model: MOL, clip: torch.Tensor, heads: tuple[Any, ...]) -> float:
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        model(clip, heads)
    return round(float(counter.get_total_flops()) / 1e9, 3)


def _precision(settings: BenchSettings) -> torch.autocast:
    return torch.autocast(settings.device, torch.bfloat16, enabled=settings.dtype == "bfloat16")


def _median_s(work: Callable[[], Any], settings: BenchSettings) -> float:
    def once() -> float:
        start = time.perf_counter()
        work()
        if settings.device == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - start

    for _ in range(3):
        once()
    return statistics.median(once() for _ in range(settings.repeats))


def _matmul_gflops(settings: BenchSettings) -> float:
    """With large matrices, or small ones if the machine is so slow with this type that large ones take minutes."""

    def gflops(side: int) -> float:
        a = torch.randn(side, side, device=settings.device)
        return 2 * side**3 / 1e9 / _median_s(lambda: a @ a, settings)

    small = gflops(256)
    return gflops(2048) if small > SLOW_GFLOPS else small


def _training_step_s(model: MOL, network: Callable[..., MOLOutput], settings: BenchSettings) -> float:
    model.train()
    batch, config = settings.train_batch, model.config
    clip = torch.randn(batch, config.frames, 1, config.size, config.size, device=settings.device)
    labels = torch.zeros(batch, dtype=torch.long, device=settings.device)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-4)

    def step() -> None:
        optimizer.zero_grad()
        with _precision(settings):
            out = network(clip)
        assert out.logits is not None  # noqa: S101  (every network has this head)
        loss = cross_entropy(out.logits.float(), labels)
        for dense in (out.flow, out.landmarks):
            if dense is not None:
                loss = loss + dense.float().square().mean()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    return _median_s(step, settings)


def _peak_mb(device: str) -> float:
    if device == "cuda":
        return round(torch.cuda.max_memory_allocated() / 2**20, 1)
    # Kilobytes on Linux, bytes on macOS.
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit, 1)


def machine(device: str) -> dict[str, Any]:
    """What the figures were measured on."""
    return {
        "cpu": cpu_name(),
        "threads": torch.get_num_threads(),
        "cores": os.cpu_count(),
        "gpu": torch.cuda.get_device_name() if device == "cuda" else None,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "openmer": __version__,
        "commit": commit(),
    }


def run(presets: tuple[str, ...], settings: BenchSettings, out: Path | None, console: Console) -> list[dict[str, Any]]:
    """Measure presets, print a table, and write JSON if `out` is given."""
    if out is not None and (out.is_dir() or not out.parent.is_dir()):
        raise OutputError(f"cannot write {out}: its folder does not exist, or it is a folder; choose another --out")
    rows = []
    for preset in presets:
        with console.status(f"measuring {preset} ..."):
            rows.append({"settings": {"preset": preset, **asdict(settings)}, "figures": bench(preset, settings)})
    _print(rows, settings, console)
    if out is not None:
        content = {"date": datetime.now(UTC).isoformat(timespec="seconds"), "machine": machine(settings.device)}
        write_atomic(out, json.dumps({**content, "rows": rows}, indent=2) + "\n")
        console.print(f"wrote {out}", markup=False)
    return rows


def _print(rows: list[dict[str, Any]], settings: BenchSettings, console: Console) -> None:
    title = f"{settings.device}, {settings.dtype}, batch {settings.batch}{', compiled' if settings.compile else ''}"
    table = Table(title=title)
    table.add_column("")
    for row in rows:
        table.add_column(row["settings"]["preset"], justify="right")
    lines: dict[str, Callable[[dict[str, Any]], Any]] = {
        "parameters, M": lambda f: f["parameters_m"],
        "GFLOP a clip, recognition": lambda f: f["gflop"]["mer"],
        "GFLOP a clip, flow": lambda f: f["gflop"].get("flow", ""),
        "GFLOP a clip, landmarks": lambda f: f["gflop"].get("landmarks", ""),
        "GFLOP a clip, all heads": lambda f: f["gflop"]["all"],
        "ms a clip, recognition alone": lambda f: f["ms_a_clip_mer"],
        "ms a clip, all heads": lambda f: f["ms_a_clip_all"],
        "the same in onnxruntime, recognition": lambda f: f.get("ms_a_clip_mer_onnx", ""),
        "the same in onnxruntime, all heads": lambda f: f.get("ms_a_clip_all_onnx", ""),
        f"ms a training step of {settings.train_batch}": lambda f: f.get("ms_a_training_step", ""),
        "peak memory, MB": lambda f: f["peak_mb"],
        "matmul of this machine, GFLOP/s": lambda f: f["matmul_gflops"],
        "share of it that all heads reach": lambda f: f["share_of_matmul_peak"],
    }
    for name, value in lines.items():
        cells = [str(value(row["figures"])) for row in rows]
        if any(cells):
            table.add_row(name, *cells)
    console.print(table)
    console.print("Fresh weights. The heads share one backbone, so their costs do not add up to that of all heads.")
