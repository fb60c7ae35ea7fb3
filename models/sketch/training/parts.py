"""What a training run writes and starts from: one safetensors file in float16 per part, under stock names.

`vae`, `unet`, `text_clip` (prefixes `text.` and `clip.`), `observer`, `ip_adapter` and `motion`, `log.json` and a sheet
of samples. Every file is whole at any time: it is written beside and then moved into place.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file, save_file

from models.sketch.training import adapter, networks

if TYPE_CHECKING:
    from models.sketch.training.conductor import Conductor

State = dict[str, torch.Tensor]


def _write(path: Path, state: State) -> None:
    small = {k: v.detach().to("cpu", torch.float16 if v.is_floating_point() else v.dtype) for k, v in state.items()}
    temporary = path.with_suffix(".tmp")
    save_file({k: v.contiguous().clone() for k, v in small.items()}, temporary)
    temporary.chmod(0o644)
    temporary.replace(path)


def _averaged(run: Conductor, stage: str, state: State, prefix: str = "") -> State:
    """A state with a running stage's averaged weights put in; `prefix` is what the stage's model calls its part."""
    if stage in run.stages:
        for name, value in run.stages[stage].averaged().items():
            if name.startswith(prefix):
                state[name.removeprefix(prefix)] = value
    return state


def states(run: Conductor) -> dict[str, State]:
    """Everything there is so far, by file."""
    vae = _averaged(run, "autoencoder" if "decoder" not in run.stages else "decoder", run.vae.state_dict())
    text = _averaged(run, "text" if run.empty is None else "", run.text.state_dict(), "text.")
    found = {"vae": vae, "text_clip": {f"text.{k}": v for k, v in text.items()}}
    if run.aligned:
        found["text_clip"] |= {f"clip.{k}": v for k, v in run.clip.state_dict().items() if "position_ids" not in k}
    if "observer" in run.stages or "observer" in run.started:
        found["observer"] = _averaged(run, "observer", run.observer.state_dict(), "vision.")
    if "unet" in run.stages:
        found["unet"] = _averaged(run, "unet", run.unet.state_dict())
    if "ip_adapter" in run.stages:
        found["ip_adapter"] = adapter.adapter_state(run.stages["ip_adapter"].averaged_model())
    if "motion" in run.stages:
        model = run.stages["motion"].averaged_model()
        found["motion"] = networks.motion_state(model)
    return found


def save(run: Conductor) -> None:
    run.out.mkdir(parents=True, exist_ok=True)
    for name, state in states(run).items():
        _write(run.out / f"{name}.safetensors", state)
    run.log["history"] = {name: stage.history for name, stage in run.stages.items()}
    temporary = run.out / "log.tmp"
    temporary.write_text(json.dumps(run.log))
    temporary.replace(run.out / "log.json")


def load(folder: Path, run: Conductor) -> list[str]:
    """Take what an earlier run left in `folder`; gives the names of what was there and fitted."""
    found = []
    for name, model in (("vae", run.vae), ("unet", run.unet), ("observer", run.observer)):
        if _take(folder / f"{name}.safetensors", model, ""):
            found.append(name)
    for name, model in (("text", run.text), ("clip", run.clip)):
        if _take(folder / "text_clip.safetensors", model, f"{name}."):
            found.append(name)
    if "clip" in found:
        run.vision.load_state_dict(_bare_like(run.clip.vision_model.state_dict(), run.vision))
    for name in ("ip_adapter", "motion"):
        path = folder / f"{name}.safetensors"
        if path.exists():
            run.earlier[name] = load_file(path)
            found.append(name)
    return found


def _take(path: Path, model: Any, prefix: str) -> bool:
    if not path.exists():
        return False
    state = {k.removeprefix(prefix): v.float() for k, v in load_file(path).items() if k.startswith(prefix)}
    own = model.state_dict()
    if any(k not in state for k in own if "position_ids" not in k) or any(
        k not in own or own[k].shape != v.shape for k, v in state.items()
    ):
        return False
    model.load_state_dict(state, strict=False)
    return True


def _bare_like(state: State, model: Any) -> State:
    """The state under the model's own names, with or without a wrapper's prefix."""
    wrapped = next(iter(model.state_dict())).startswith("vision_model.")
    return {f"vision_model.{k}" if wrapped else k: v for k, v in state.items()}


def loaded_adapter(run: Conductor) -> dict[str, State] | None:
    """An earlier adapter, as diffusers' loader wants it."""
    state = run.earlier.get("ip_adapter")
    if state is None:
        return None
    return {
        group: {k.removeprefix(f"{group}."): v.float() for k, v in state.items() if k.startswith(f"{group}.")}
        for group in ("image_proj", "ip_adapter")
    }


def load_motion(run: Conductor, model: Any) -> None:
    """An earlier run's motion modules, if there are any."""
    state = run.earlier.get("motion")
    if state is None:
        return
    told = state["conv_in.weight"][:, networks.LATENTS :]
    moving = {k: v.float() for k, v in state.items() if "motion_modules" in k}
    model.load_state_dict({**moving, "conv_in.told.weight": told.float()}, strict=False)
